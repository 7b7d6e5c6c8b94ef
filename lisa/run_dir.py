"""The folder of a training run: begun, continued or begun again, and never two runs in one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lisa.arguments import TrainArgs
from lisa.resume_flags import FIXED, PRECISION, SCHEDULE, changed_flags, type_of_weights
from lisa.run_checkpoint import DamagedCheckpointError, RunState, checkpoints_in, read_state
from lisa.run_lock import LOCK
from lisa.whole_file import told_if_full, write_whole

FLAGS = "flags.json"
FULL_DISK = "free space and start again with the same command"


def check_writable(run_dir: Path) -> None:
    """Make the folder; OSError when nothing can be written there."""
    probe = run_dir / f".probe-{os.getpid()}"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"the folder of the run, {run_dir}, cannot be written to ({error.strerror}): mend that, or choose another "
            "with --log_base_dir"
        ) from None


def check_run_dir(args: TrainArgs) -> None:
    """Refuse, before anything is loaded, a folder that cannot be written to or holds a run that is not to go on so."""
    begun = (args.run_dir / FLAGS).exists() or bool(checkpoints_in(args.run_dir / "checkpoints"))
    if args.eval_only or args.overwrite or not begun:
        return
    if not args.resume:
        raise ValueError(
            f"{args.run_dir} holds an earlier run: --resume continues it, --overwrite starts again, "
            "--exp_name gives this run a folder of its own"
        )
    _check_flags(args, _flags_before(args.run_dir))
    if (state := _newest_state(args.run_dir)) is not None:
        check_state(args, state, world_of(args))


def begin_run_dir(args: TrainArgs) -> None:
    """Write down the flags; what an earlier run left is deleted when --overwrite asks for it, and not before."""
    if args.eval_only:
        return
    if args.overwrite:
        for path in args.run_dir.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
    with told_if_full(args.run_dir / FLAGS, FULL_DISK):
        write_whole(args.run_dir / FLAGS, json.dumps(flags_as_text(args), indent=1) + "\n")


def flags_as_text(args: TrainArgs) -> dict[str, str]:
    """Every flag with its value."""
    return {name: str(value) for name, value in asdict(args).items()}


def world_of(args: TrainArgs) -> int:
    """Processes that will train together."""
    return int(os.environ.get("WORLD_SIZE", args.processes))


def check_state(args: TrainArgs, state: RunState, world: int) -> None:
    """Refuse a checkpoint with which so many processes would draw other samples, or could not go on.

    A step's samples depend on the number of its images alone, so other processes, batches and accumulation are fine as
    long as their product stays.
    """
    made = f"the checkpoint of step {state.step} in {args.run_dir} was made by {_processes(state.world)}"
    if args.zero_stage and world != state.world:
        raise ValueError(
            f"{made} with --zero_stage {args.zero_stage}, each with its share of the optimiser's state, and now there "
            f"{'is' if world == 1 else 'are'} {world}: start {_processes(state.world)} (--processes {state.world}, or "
            f"a launcher's --nproc_per_node {state.world})"
        )
    now = world * args.batch_size * args.grad_accumulation_steps
    if now != state.images_per_step:
        per_micro_batch = world * args.batch_size
        fits = state.images_per_step % per_micro_batch == 0
        mend = (
            f"--grad_accumulation_steps {state.images_per_step // per_micro_batch}"
            if fits
            else (f"--processes, --batch_size and --grad_accumulation_steps whose product is {state.images_per_step}")
        )
        raise ValueError(
            f"{made}, with {state.images_per_step} images a step, and {_processes(world)} with --batch_size "
            f"{args.batch_size} and --grad_accumulation_steps {args.grad_accumulation_steps} would see {now}, which "
            f"are other samples: give {mend}"
        )
    if state.step > args.total_steps:
        raise ValueError(f"{made}, and this run would end at step {args.total_steps}: give more --epochs")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _check_flags(args: TrainArgs, before: Mapping[str, str]) -> None:
    now = flags_as_text(args)
    other_type = type_of_weights(now["precision"]) != type_of_weights(before.get("precision", ""))
    changed = changed_flags(before, now, [*FIXED, *(PRECISION if other_type else [])])
    if changed:
        raise ValueError(
            f"--resume continues {args.run_dir} with the flags it began with, but {', '.join(changed)}; what may "
            f"change is {', '.join('--' + name for name in SCHEDULE)}, and what touches neither samples nor weights"
        )
    if rates := changed_flags(before, now, [*SCHEDULE, *PRECISION]):
        print(f"note: from here on the run has {', '.join(rates)}", flush=True)


def _flags_before(run_dir: Path) -> Mapping[str, str]:
    """The flags that the run began with; checkpoints hold a copy, should flags.json be damaged."""
    path = run_dir / FLAGS
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(flags, dict):
            raise ValueError("no flags")
    except (OSError, ValueError):
        state = _newest_state(run_dir)
        if state is None:
            raise ValueError(
                f"{path} is damaged or missing, and no checkpoint holds a copy of it: start again with --overwrite"
            ) from None
        print(
            f"note: {path} is damaged or missing; its copy in the checkpoint of step {state.step} is read", flush=True
        )
        return state.flags
    return flags


def _newest_state(run_dir: Path) -> RunState | None:
    """Of the newest checkpoint that says what it is."""
    for checkpoint in reversed(checkpoints_in(run_dir / "checkpoints")):
        try:
            return read_state(checkpoint)
        except DamagedCheckpointError:  # told when it is to be loaded
            continue
    return None
