"""The pointing game: whether the image token that fits a name best lies on the thing (Zhang et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lisa.objective import hide_padding, words_said

if TYPE_CHECKING:
    from lisa.modeling import LisaModel
    from lisa.processing import Batch


@torch.inference_mode()
def measure_pointing(model: LisaModel, batches: Iterable[Batch]) -> float:
    """Share of the names, over all batches, whose best image token lies on the thing; NaN without names."""
    right = [
        pointing_accuracy(
            place_scores(model, model.image_tokens(batch), batch),
            batch.targets.coverage[batch.names.mask_index],
        )
        for batch in (batch.to(model.device) for batch in batches)
    ]
    return torch.cat(right).float().mean().item()


def place_scores(model: LisaModel, image_tokens: Tensor, batch: Batch) -> Tensor:
    """(M, P): how well each token of its picture fits each name of the batch; image_tokens is (B, P, D)."""
    names = batch.names
    said = words_said(model, image_tokens[..., : model.backbone.width])
    scores = word_scores(said[names.image_of], names.words, names.real)
    return hide_padding(scores, batch.rows.image_tokens_of(len(batch.sizes))[names.image_of])


def word_scores(log_probabilities: Tensor, words: Tensor, real: Tensor) -> Tensor:
    """How well each place fits each name, the mean over its words: (M, P).

    log_probabilities (M, P, V) of each place's words, in the picture of each name; words (M, T) their ids;
    real (M, T) is false at padding.
    """
    per_word = log_probabilities.gather(2, words[:, None, :].expand(-1, log_probabilities.shape[1], -1))
    return (per_word * real[:, None]).sum(2) / real.sum(1)[:, None].clamp_min(1)


def pointing_accuracy(scores: Tensor, coverage: Tensor) -> Tensor:
    """Whether the best place of each name lies on its mask: (M,) bool.

    scores, coverage (M, P).
    """
    return coverage.gather(1, scores.argmax(1, keepdim=True))[:, 0] >= 0.5 * coverage.amax(1)
