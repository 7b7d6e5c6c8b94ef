"""Whether the disk has room for what a run will write."""

from __future__ import annotations

import shutil

from torch import nn

from lisa.arguments import TrainArgs
from lisa.run_checkpoint import KEPT, checkpoints_in

BYTES_OF_MODEL = {"fp32": 4, "bf16": 2, "fp16": 2}
GIB = 2**30


def check_disk_space(model: nn.Module, args: TrainArgs) -> None:
    """OSError when there is not enough free space for the checkpoints to come and the model at the end."""
    checkpoint, final = checkpoint_bytes(model, args), model_bytes(model, args)
    there = len(checkpoints_in(args.run_dir / "checkpoints"))
    more = max(1, KEPT + 1 - there)  # a new one is whole before the oldest goes
    needed, free = more * checkpoint + final, shutil.disk_usage(args.run_dir).free
    if needed > free:
        raise OSError(
            f"{args.run_dir} needs about {needed / GIB:.2f} GiB ({more} checkpoints of {checkpoint / GIB:.2f} GiB and "
            f"a model of {final / GIB:.2f} GiB), and {free / GIB:.2f} GiB are free there: free space, or choose "
            "another disk with --log_base_dir"
        )


def checkpoint_bytes(model: nn.Module, args: TrainArgs) -> int:
    """About the size of a checkpoint: what is trained, with the optimiser's state; at least so much."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    half = args.precision in ("bf16", "fp16")
    weights = 2 + 4 if half else 4  # half precision has fp32 copies beside it
    return trained * (weights + (4 if args.optimizer == "muon" else 8))


def model_bytes(model: nn.Module, args: TrainArgs) -> int:
    """About the size of the model's folder."""
    return sum(parameter.numel() for parameter in model.parameters()) * BYTES_OF_MODEL[args.save_dtype]
