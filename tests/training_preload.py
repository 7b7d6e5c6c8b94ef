"""What a training run imports, so that a server that forks has done it; and faults that a test puts into a run."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import lisa.processes

for name in (
    "deepspeed",
    "torch.utils.tensorboard",
    "datasets.collate",
    "datasets.mixture",
    "datasets.own",
    "datasets.validation",
    "eval.cli",
    "eval.sheet",
    "lisa.checkpoint",
    "lisa.start",
    "lisa.trainable",
    "lisa.trainer",
    "train_ds",
):
    importlib.import_module(name)
torch.set_num_threads(1)

# A test kills processes before they meet; the others tell it, but not after minutes.
lisa.processes.MEETING = timedelta(seconds=20)


def small_files_only() -> None:
    """No file grows beyond 200 kB, as on a disk that is full: enough for a log, not for a checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def folder_of_its_own() -> None:
    """Each process in another working directory, as on machines that do not share a disk."""
    os.chdir(tempfile.mkdtemp())


def second_fails_at_sample_20() -> None:
    """The second process meets a sample that it cannot read."""
    from datasets.mixture import Mixture

    draw = Mixture.sample

    def broken(self, epoch: int, i: int):
        if os.environ.get("RANK") == "1" and i >= 20:
            raise ValueError("sample 20 cannot be read")
        return draw(self, epoch, i)

    Mixture.sample = broken


def nan_in_a_gradient() -> None:
    """The first process has a NaN in one gradient of step 4."""
    from lisa.trainer import Trainer

    one_step = Trainer._one_step

    def broken(self, stage: str):
        if self.step != 3 or self.rank != 0:
            return one_step(self, stage)
        weight = max(self.trained, key=lambda parameter: parameter.numel() * parameter.requires_grad)
        hook = weight.register_hook(lambda gradient: gradient * float("nan"))
        try:
            return one_step(self, stage)
        finally:
            hook.remove()

    Trainer._one_step = broken
