"""Loss terms of LISA: what the answer says, and what the masks cover."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lisa.profiling import timed
from lisa.tokenization import IGNORE_INDEX


def text_loss(hidden: Tensor, labels: Tensor, logits_of) -> Tensor:
    """Cross entropy of the next token, averaged over the labelled tokens of the batch.

    hidden (R, L, D), labels (R, L); `logits_of` maps (M, D) -> (M, V) and is only asked where a label is.
    0 when nothing is labelled.
    """
    learned = labels[:, 1:] != IGNORE_INDEX
    return answer_loss(hidden[:, :-1][learned], labels[:, 1:][learned], logits_of)


@timed("losses")
def answer_loss(states: Tensor, words: Tensor, logits_of) -> Tensor:
    """Cross entropy of the words (M,) that the states (M, D) predict, averaged; 0 when M is 0."""
    if len(words) == 0:
        return states.sum() * 0
    return F.cross_entropy(logits_of(states).float(), words)


def mask_bce_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy per mask, mean over the pixels that count: (N,).

    logits, targets (N, h, w), targets in [0, 1]; weights (N or 1, h, w) in [0, 1], 0 where a pixel counts
    for nothing (ignore region, padding).
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weights = weights.expand_as(loss)
    return (loss * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1e-6)


def balanced_bce_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy per mask, inside and outside of the target weighing the same: (N,).

    Shapes as in `mask_bce_loss`. A small thing is not drowned by its surroundings.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").flatten(1)
    inside = (targets * weights).flatten(1)
    outside = ((1 - targets) * weights).flatten(1)
    return 0.5 * sum((loss * side).sum(1) / side.sum(1).clamp_min(1e-4) for side in (inside, outside))


def dice_loss(logits: Tensor, targets: Tensor, weights: Tensor, scale: float = 1000.0, eps: float = 1e-6) -> Tensor:
    """1 - dice coefficient of probabilities and targets, per mask: (N,) (Milletari et al. 2016).

    Shapes as in `mask_bce_loss`. The sums are divided by `scale` before `eps` is added, as in LISA: it decides
    how an empty target is treated.
    """
    probabilities = (logits.sigmoid() * weights).flatten(1)
    targets = (targets * weights).flatten(1)
    overlap = (probabilities / scale * targets).sum(1)
    total = (probabilities / scale).sum(1) + (targets / scale).sum(1)
    return 1 - (2 * overlap + eps) / (total + eps)


def iou_score_loss(scores: Tensor, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Squared error of the predicted IoU against the IoU that the mask has: (N,) (SAM, Kirillov et al. 2023)."""
    with torch.no_grad():
        predicted, wanted = (logits > 0) * weights, (targets > 0.5) * weights
        intersection = (predicted * wanted).flatten(1).sum(1)
        union = torch.maximum(predicted, wanted).flatten(1).sum(1)
        iou = torch.where(union > 0, intersection / union.clamp_min(1e-6), 1.0)
    return (scores.float() - iou) ** 2


def mean_over_masks(per_mask: list[Tensor]) -> Tensor:
    """Mean of all per-mask losses of a batch, 0 without masks; the images' tensors are (N_b,)."""
    joined = torch.cat(per_mask)
    return joined.sum() / (len(joined) + 1e-8)
