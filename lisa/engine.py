"""The training engine, which is DeepSpeed's, and the samples of each step, at which a run resumes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lisa.arguments import TrainArgs
from lisa.optimizer import build_optimizer, skip_not_finite
from lisa.precision import AUTO
from lisa.reduction import OrderedReduction
from lisa.run_stop import end_with


def deepspeed_config(args: TrainArgs, steps: int) -> dict[str, Any]:
    """LISA's DeepSpeed settings: ZeRO stage, precision, accumulation, clipping, warm-up and linear decay in `steps`."""
    assert args.precision != AUTO, "lisa.precision.agree_on_precision comes first"
    peaks = [args.muon_lr, args.lr] if args.optimizer == "muon" else [args.lr]
    return {
        "train_micro_batch_size_per_gpu": args.batch_size,
        "gradient_accumulation_steps": args.grad_accumulation_steps,
        "gradient_clipping": args.clip,
        "steps_per_print": 10**9,
        "bf16": {"enabled": args.precision == "bf16", "check_grad_overflow": True},
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
                "warmup_num_steps": max(args.warmup_steps, 1),  # DeepSpeed takes no 0
                "warmup_type": "linear",
            },
        },
    }


def start_engine(model: nn.Module, args: TrainArgs, steps: int) -> Any:
    """DeepSpeed's engine around the parameters of the model that learn, for a stage of so many optimiser steps."""
    import deepspeed

    deepspeed.utils.logger.addFilter(_is_news)
    optimizer = build_optimizer(model, args.optimizer, args.lr, (args.beta1, args.beta2), args.weight_decay)
    if not args.zero_stage and args.precision in ("fp32", "bf16_mixed"):
        skip_not_finite(optimizer)  # DeepSpeed's own optimisers do so themselves
    if args.precision == "bf16_mixed" and "forward" not in vars(model):
        # Inside of the model: DeepSpeed switches off, on a GPU, an autocast that is opened around its engine.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(args, steps))
    if args.zero_stage:
        OrderedReduction(engine.optimizer)
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

    def drawn_in(self, step: int) -> list[tuple[int, int]]:
        """(epoch, i) of every sample of an optimiser step (0 is the first of the run), over all ranks."""
        args = self.args
        per_step = args.batch_size * args.grad_accumulation_steps * self.world
        return [divmod(step * per_step + k, per_step * args.steps_per_epoch) for k in range(per_step)]

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
        worker_init_fn=partial(end_with, os.getpid()),
    )
    return iter(loader)
