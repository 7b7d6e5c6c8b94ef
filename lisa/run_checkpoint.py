"""Checkpoints of a training run: the last two are on disk, each whole and with checksums that are verified on load."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lisa.whole_file import told_if_full, write_whole

KEPT = 2
"""Checkpoints on disk: the newest, and the one before it, should the newest be damaged."""
RECORD = "checkpoint.json"
STATE = "state"
"""DeepSpeed's part of a checkpoint's folder."""
WHOLE = re.compile(r"step_(\d{7,})")
LEFTOVER = re.compile(r"step_\d{7,}\.partial")


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What a checkpoint says of the run that it was made in."""

    step: int
    """Optimiser steps done."""
    world: int
    """Processes that trained together."""
    flags: dict[str, str]
    """Every flag of the run, as text."""

    @property
    def images_per_step(self) -> int:
        """The global batch: images of one optimiser step, over all processes."""
        return self.world * int(self.flags["batch_size"]) * int(self.flags["grad_accumulation_steps"])


class DamagedCheckpointError(ValueError):
    """A checkpoint that is not what was saved; the sentence says which file, and how it differs."""


def save_checkpoint(engine: Any, folder: Path, state: RunState) -> None:
    """Write `folder/step_N` whole, then remove all but the last two; called by all processes.

    At every moment the checkpoints that were there are whole on disk. OSError: the disk is full.
    """
    target = folder / f"step_{state.step:07d}"
    unfinished = target.with_name(f"{target.name}.partial")
    with told_if_full(target, "the checkpoints before it are whole: free space, and --resume goes on from them"):
        if engine.global_rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        torch.distributed.barrier()
        engine.save_checkpoint(str(unfinished), tag=STATE, exclude_frozen_parameters=True)
        torch.distributed.barrier()
        if engine.global_rank == 0:
            _write_record(unfinished, state)
            _sync(unfinished)
            if target.exists():  # one of the same step, from before this run went back to an earlier one
                set_aside(target)
            unfinished.rename(target)
            _sync_folder(folder)
            _remove_older(folder, target)
        torch.distributed.barrier()


def load_checkpoint(engine: Any, checkpoint: Path) -> None:
    """Load weights, optimiser and schedule of the stage that the checkpoint was made in; the flags' rates hold."""
    with _only_tensors():
        engine.load_checkpoint(str(checkpoint), tag=STATE, load_module_strict=False)
    # The optimiser's state brings the rates of the run before along.
    schedule = engine.lr_scheduler
    for group, rate in zip(schedule.optimizer.param_groups, schedule.get_lr(), strict=True):
        group["lr"] = rate


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is as it was saved, and a sentence for each newer one that is not.

    (None, []) when there is none at all; ValueError when there are some and all are damaged.
    """
    problems: list[str] = []
    for checkpoint in reversed(checkpoints_in(folder)):
        try:
            verify(checkpoint)
        except DamagedCheckpointError as problem:
            problems.append(str(problem))
        else:
            return checkpoint, problems
    if problems:
        raise ValueError(
            f"no checkpoint in {folder} can be loaded: {'; '.join(problems)}. Put back a copy, or start again with "
            "--overwrite"
        )
    return None, []


def checkpoints_in(folder: Path) -> list[Path]:
    """The folders of finished checkpoints, the oldest first; whatever else lies there is passed over."""
    found = [path for path in folder.glob("step_*") if WHOLE.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def set_aside(checkpoint: Path) -> Path:
    """Rename a damaged checkpoint, so that it is neither loaded nor counted; returns its new path."""
    aside = checkpoint.with_name(f"{checkpoint.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    return checkpoint.rename(aside)


def verify(checkpoint: Path) -> RunState:
    """What the checkpoint says of its run; DamagedCheckpointError unless every file is as it was saved."""
    state, files = _read_record(checkpoint)
    for name, (size, digest) in files.items():
        path = checkpoint / name
        if not path.is_file():
            raise DamagedCheckpointError(f"{path} is missing")
        if path.stat().st_size != size:
            raise DamagedCheckpointError(f"{path} has {path.stat().st_size} bytes instead of {size}")
        if _digest(path) != digest:
            raise DamagedCheckpointError(f"{path} was changed after it was saved (its sha256 is another)")
    return state


def read_state(checkpoint: Path) -> RunState:
    """What the checkpoint says of its run; its large files are not looked at."""
    return _read_record(checkpoint)[0]


def _write_record(unfinished: Path, state: RunState) -> None:
    files = sorted(path for path in unfinished.rglob("*") if path.is_file())
    sums = {path.relative_to(unfinished).as_posix(): (path.stat().st_size, _digest(path)) for path in files}
    record = {"run": asdict(state), "files": sums}
    write_whole(unfinished / RECORD, json.dumps(record | {"sha256": _digest_of_record(record)}, indent=1) + "\n")


def _read_record(checkpoint: Path) -> tuple[RunState, dict[str, tuple[int, str]]]:
    path = checkpoint / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        digest = record.pop("sha256")
        if digest != _digest_of_record(record):
            raise DamagedCheckpointError(f"{path} was changed after it was saved (its sha256 is another)")
        state = RunState(**record["run"])
        files = {name: tuple(entry) for name, entry in record["files"].items()}
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DamagedCheckpointError):
            raise
        raise DamagedCheckpointError(f"{path} is no record of a checkpoint") from None
    outside = [name for name in files if not (checkpoint / name).resolve().is_relative_to(checkpoint.resolve())]
    if outside or f"step_{state.step:07d}" != checkpoint.name:
        raise DamagedCheckpointError(f"{path} is of another checkpoint, step {state.step}")
    return state, files


def _digest_of_record(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _remove_older(folder: Path, newest: Path) -> None:
    """All but the last two, and what kills left of others; nothing that is not ours."""
    before = [path for path in checkpoints_in(folder) if path != newest]
    leftovers = [path for path in folder.glob("step_*.partial") if LEFTOVER.fullmatch(path.name)]
    for path in [*before[: len(before) - (KEPT - 1)], *leftovers]:
        shutil.rmtree(path)


@contextmanager
def _only_tensors() -> Iterator[None]:
    """DeepSpeed reads its files with pickle, which runs what they say: torch is told to read tensors only."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        if before is not None:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _sync(folder: Path) -> None:
    """Flush a folder and its files to the disk."""
    for path in [*folder.rglob("*"), folder]:
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
