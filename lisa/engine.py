"""The training engine: DeepSpeed's, with checkpoints that are never half there and resume at the very sample."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lisa.arguments import TrainArgs
from lisa.optimizer import build_optimizer
from lisa.precision import AUTO


def deepspeed_config(args: TrainArgs, steps: int) -> dict[str, Any]:
    """LISA's DeepSpeed settings: ZeRO stage, precision, accumulation, clipping, warm-up and linear decay in `steps`."""
    assert args.precision != AUTO, "lisa.precision.agree_on_precision comes first"
    peaks = [args.muon_lr, args.lr] if args.optimizer == "muon" else [args.lr]
    return {
        "train_micro_batch_size_per_gpu": args.batch_size,
        "gradient_accumulation_steps": args.grad_accumulation_steps,
        "gradient_clipping": args.clip,
        "steps_per_print": 10**9,
        "bf16": {"enabled": args.precision == "bf16"},
        "fp16": {"enabled": args.precision == "fp16"},
        "zero_optimization": {
            "stage": args.zero_stage,
            "contiguous_gradients": True,
            "overlap_comm": torch.cuda.is_available(),
            "reduce_scatter": True,
            "reduce_bucket_size": 5e8,
            "allgather_bucket_size": 5e8,
        },
        "zero_allow_untested_optimizer": True,
        "scheduler": {
            "type": "WarmupDecayLR",
            "params": {
                "total_num_steps": steps,
                "warmup_min_lr": [0.0] * len(peaks),
                "warmup_max_lr": peaks,
                "warmup_num_steps": args.warmup_steps,
                "warmup_type": "linear",
            },
        },
    }


def start_engine(model: nn.Module, args: TrainArgs, steps: int) -> Any:
    """DeepSpeed's engine around the parameters of the model that learn, for a stage of so many optimiser steps."""
    import deepspeed

    deepspeed.utils.logger.addFilter(_is_news)
    optimizer = build_optimizer(model, args.optimizer, args.lr, (args.beta1, args.beta2), args.weight_decay)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(args, steps))
    return engine


def _is_news(record: logging.LogRecord) -> bool:
    """DeepSpeed's schedules warn about their own first step, each time."""
    return "learning rate from scheduler before it has started" not in record.getMessage()


class SampleStream(Dataset):
    """Micro-batches by number: number n of rank r holds the samples that no other n or r holds.

    Sample i of the run is sample i % epoch of epoch i // epoch, a function of (seed, epoch, i) alone.
    """

    def __init__(self, draw, collate, args: TrainArgs, rank: int, world: int, first_step: int) -> None:
        self.draw, self.collate, self.args = draw, collate, args
        self.rank, self.world = rank, world
        self.first = first_step * args.grad_accumulation_steps

    def __len__(self) -> int:
        return self.args.total_steps * self.args.grad_accumulation_steps - self.first

    def __getitem__(self, number: int) -> Any:
        args = self.args
        start = ((self.first + number) * self.world + self.rank) * args.batch_size
        per_epoch = args.batch_size * args.grad_accumulation_steps * args.steps_per_epoch * self.world
        return self.collate([self.draw(*divmod(start + k, per_epoch)) for k in range(args.batch_size)])


def micro_batches(stream: SampleStream, workers: int) -> Iterator[Any]:
    """The stream's batches in order, prepared ahead by `workers` processes (0: by this one)."""
    loader = DataLoader(
        stream,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def save_checkpoint(engine: Any, folder: Path, step: int) -> None:
    """Write `folder/step_N` whole, then remove older ones: at every moment one whole checkpoint is on disk."""
    name = f"step_{step:07d}"
    unfinished = folder / f"{name}.partial"
    if engine.global_rank == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    torch.distributed.barrier()
    engine.save_checkpoint(str(unfinished), tag="state", exclude_frozen_parameters=True)
    torch.distributed.barrier()
    if engine.global_rank == 0:
        _sync(unfinished)
        unfinished.rename(folder / name)
        _sync(folder)
        for older in folder.glob("step_*"):
            if older.name != name:
                shutil.rmtree(older)
    torch.distributed.barrier()


def load_checkpoint(engine: Any, folder: Path) -> None:
    """Load the newest whole checkpoint: weights, optimiser and schedule of the stage that it was made in."""
    engine.load_checkpoint(str(newest_checkpoint(folder)), tag="state", load_module_strict=False)


def steps_done(folder: Path) -> int:
    """Optimiser steps of the newest whole checkpoint, 0 when there is none."""
    newest = newest_checkpoint(folder)
    return int(newest.name.removeprefix("step_")) if newest else 0


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was finished; unfinished ones end in .partial and are passed over."""
    finished = [path for path in folder.glob("step_*") if path.suffix != ".partial"]
    return max(finished, default=None)


def _sync(folder: Path) -> None:
    """Flush a folder and its files to the disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
