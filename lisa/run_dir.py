"""The folder of a training run: begun, continued or begun again, and never two runs in one."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

from lisa.arguments import TrainArgs
from lisa.whole_file import write_whole

FREE_TO_CHANGE = (
    "resume",
    "overwrite",
    "workers",
    "print_freq",
    "profile",
    "local_rank",
    "log_base_dir",
    "dataset_dir",
    "elsewhere",
    "index_dir",
    "cache_sam",
)
"""Flags with which a run may go on differently: they change neither samples nor weights."""


def prepare_run_dir(args: TrainArgs) -> None:
    """Make the run's folder; an earlier run of the same name is continued or deleted only when asked."""
    flags = args.run_dir / "flags.json"
    if args.eval_only:
        args.run_dir.mkdir(parents=True, exist_ok=True)
        return
    if flags.exists() and args.overwrite:
        shutil.rmtree(args.run_dir)
    now = {name: str(value) for name, value in asdict(args).items() if name not in FREE_TO_CHANGE}
    if flags.exists():
        before = json.loads(flags.read_text(encoding="utf-8"))
        if not args.resume:
            raise ValueError(
                f"{args.run_dir} holds an earlier run: --resume continues it, --overwrite starts again, "
                "--exp_name gives this run a folder of its own"
            )
        changed = [
            f"--{name} {value} instead of {before.get(name)}"
            for name, value in now.items()
            if value != before.get(name)
        ]
        if changed:
            raise ValueError(
                f"--resume continues {args.run_dir} with the flags it began with, but {', '.join(changed)}"
            )
    args.run_dir.mkdir(parents=True, exist_ok=True)
    write_whole(flags, json.dumps(now, indent=1) + "\n")
