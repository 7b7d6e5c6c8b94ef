"""Losses averaged over a whole optimiser step: its micro-batches and processes together.

A micro-batch averages over its own masks and words. Averaged once more over micro-batches and processes, a mask among
few would weigh more than one among many, and one beside a micro-batch without any but half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from lisa.config import LisaConfig
from lisa.grounding import states_on_the_way
from lisa.processing import Batch
from lisa.tokenization import IGNORE_INDEX

COUNTED = {
    "ce": "words",
    "bce": "masks",
    "dice": "masks",
    "dense": "masks",
    "iou": "masks",
    "ground": "names",
    "ground_sam": "names",
    "look": "states",
}
"""What each loss term is a mean over."""


def shares_of_step(
    batches: Sequence[Batch], config: LisaConfig, world: int, device: torch.device | str
) -> list[dict[str, Tensor]]:
    """For each micro-batch, factors of its loss terms: averaged over micro-batches and processes, they are the step's.

    batches: those of this process, on the host.
    """
    counts = torch.tensor([list(_counts(batch, config).values()) for batch in batches], dtype=torch.float32)
    counts = counts.to(device, non_blocking=True)
    totals = counts.sum(0)
    if world > 1:
        dist.all_reduce(totals)
    shares = counts * (len(batches) * world) / totals.clamp_min(1)
    kinds = list(_counts(batches[0], config))
    return [{term: row[kinds.index(kind)] for term, kind in COUNTED.items()} for row in shares]


def _counts(batch: Batch, config: LisaConfig) -> dict[str, int]:
    looks = config.look_loss_weight > 0
    return {
        "words": int((batch.rows.labels[:, 1:] != IGNORE_INDEX).sum()),
        "masks": len(batch.targets.low_res),
        "names": 0 if batch.names is None else len(batch.names.mask_index),
        "states": len(states_on_the_way(batch.rows, config.seg_token_id)[0]) if looks else 0,
    }


def mean_over_ranks(terms: dict[str, Tensor], world: int) -> dict[str, Tensor]:
    """Scalars by name, averaged over the processes; all have the same names."""
    if world == 1:
        return terms
    joined = torch.stack([value.float() for value in terms.values()])
    dist.all_reduce(joined)
    return dict(zip(terms, joined / world, strict=True))
