"""What a training run imports, so that a server that forks has done it; and faults that a test puts into a run."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

torch.set_num_threads(1)

import deepspeed  # noqa: F401
from torch.utils.tensorboard import SummaryWriter  # noqa: F401

import datasets.collate
import datasets.mixture
import datasets.own
import datasets.validation
import eval.cli
import eval.sheet
import lisa.checkpoint
import lisa.start
import lisa.trainable
import lisa.trainer
import train_ds  # noqa: F401


def small_files_only() -> None:
    """No file grows beyond 200 kB, as on a disk that is full: enough for a log, not for a checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
