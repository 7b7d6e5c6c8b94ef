"""Phrase grounding: teach both image encoders to see before the language model has learned to speak.

Names of masks ("red car at the left") teach three things before any question is asked; the stage "vision" learns the
first alone, "grounding" all three:

- image tokens, read by the language model's own head, say the words of what stands at their place, so that the
  language model is shown pictures in the words it knows;
- "red car at the left [SEG]", read by the language model without the picture, prompts the mask decoder;
- SAM's image embedding answers the prompt at every place (the dense loss of `lisa.modeling`).

A released LISA stands on pretrained CLIP and SAM; a model that starts from nothing needs this stage instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import BaseImageProcessor

if TYPE_CHECKING:
    from lisa.modeling import Lisa
    from lisa.processing import Batch


def word_scores(log_probabilities: Tensor, words: Tensor, real: Tensor) -> Tensor:
    """How well each place fits each name, the mean over its words: (M, P).

    log_probabilities (M, P, V) of each place's words, in the picture of each name; words (M, T) their ids;
    real (M, T) is false at padding.
    """
    per_word = log_probabilities.gather(2, words[:, None, :].expand(-1, log_probabilities.shape[1], -1))
    return (per_word * real[:, None]).sum(2) / real.sum(1)[:, None].clamp_min(1)


def token_grounding_loss(scores: Tensor, coverage: Tensor) -> Tensor:
    """Cross entropy of a name's words at the places that its thing covers, per name: (M,).

    scores (M, P) from `word_scores`; each place counts with the share of it that is covered, (M, P).
    """
    return -(scores * coverage).sum(1) / coverage.sum(1).clamp_min(1e-6)


def pointing_accuracy(scores: Tensor, coverage: Tensor) -> Tensor:
    """Whether the best place of each name lies on its mask: (M,) bool (the pointing game, Zhang et al. 2016).

    scores, coverage (M, P).
    """
    return coverage.gather(1, scores.argmax(1, keepdim=True))[:, 0] >= 0.5 * coverage.amax(1)


@torch.inference_mode()
def measure_pointing(model: Lisa, batches: Iterable[Batch]) -> float:
    """Share of the names, over all batches, whose best image token lies on the thing; NaN without names."""
    right = [
        pointing_accuracy(
            model.place_scores(model.backbone.image_tokens(batch.pixel_values), batch.names), batch.names.coverage
        )
        for batch in (batch.to(model.device) for batch in batches)
    ]
    return torch.cat(right).float().mean().item()


def tower_coverage(masks: np.ndarray, image_processor: BaseImageProcessor, grid: int) -> Tensor:
    """Masks (N, H, W) bool as the vision tower sees the picture: (N, grid * grid) share covered, N may be 0.

    Follows the image processor's resize (to a fixed size, or shortest edge and centre crop).
    """
    cells = np.zeros((len(masks), grid * grid), np.float32)
    for mask, cell in zip(masks, cells, strict=True):
        seen = _as_the_tower_sees(mask.astype(np.float32), image_processor)
        cell[:] = cv2.resize(seen, (grid, grid), interpolation=cv2.INTER_AREA).ravel()
    return torch.from_numpy(cells)


def _as_the_tower_sees(mask: np.ndarray, image_processor: BaseImageProcessor) -> np.ndarray:
    size = image_processor.size
    if "shortest_edge" not in size:
        return cv2.resize(mask, (size["width"], size["height"]), interpolation=cv2.INTER_AREA)
    height, width = mask.shape
    scale = size["shortest_edge"] / min(height, width)
    resized = cv2.resize(mask, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    if not image_processor.do_center_crop:
        return resized
    crop = image_processor.crop_size
    top = (resized.shape[0] - crop["height"]) // 2
    left = (resized.shape[1] - crop["width"]) // 2
    return resized[top : top + crop["height"], left : left + crop["width"]]
