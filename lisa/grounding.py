"""Phrase grounding: teach both image encoders to see before the language model has learned to speak.

Names of masks ("red car at the left") teach three things, before any question is asked:

- image tokens at the places of a thing point in the direction of its name, the mean of its word embeddings, so
  that the language model reads pictures in its own words (CLIP's softmax over cosines, Radford et al. 2021, with
  the places of a picture instead of the captions of a batch; LSeg, Li et al. 2022, and GLIP, Li et al. 2022,
  learn likewise);
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
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BaseImageProcessor

if TYPE_CHECKING:
    from lisa.modeling import Lisa
    from lisa.processing import Batch


class TokenGrounding(nn.Module):
    """Scores image tokens against names: scaled cosine, the scale learned."""

    def __init__(self) -> None:
        super().__init__()
        # One element and not a scalar: DeepSpeed cannot broadcast those.
        self.log_scale = nn.Parameter(torch.tensor([4.0]))

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """tokens (M, P, D) of each name's image, words (M, D) -> logits (M, P)."""
        cosine = torch.einsum("mpd,md->mp", F.normalize(tokens, dim=-1), F.normalize(words, dim=-1))
        return self.log_scale.exp() * cosine


def mean_words(embeddings: Tensor, words: Tensor) -> Tensor:
    """Bags of words: embeddings (M, T, D), words (M, T) true where a word of the name stands -> (M, D)."""
    return (embeddings * words[..., None]).sum(1) / words.sum(1, keepdim=True).clamp_min(1)


def token_grounding_loss(logits: Tensor, coverage: Tensor) -> Tensor:
    """How far the softmax over places is from the thing's own places, as a KL divergence per name: (M,).

    logits, coverage (M, P); the wanted distribution is the coverage, scaled to sum 1.
    """
    wanted = coverage / coverage.sum(1, keepdim=True).clamp_min(1e-6)
    return F.kl_div(logits.log_softmax(1), wanted, reduction="none").sum(1)


def pointing_accuracy(logits: Tensor, coverage: Tensor) -> Tensor:
    """Whether the best place of each name lies on its mask: (M,) bool (the pointing game, Zhang et al. 2016)."""
    return coverage.gather(1, logits.argmax(1, keepdim=True))[:, 0] >= 0.5 * coverage.amax(1)


@torch.inference_mode()
def measure_pointing(model: Lisa, batches: Iterable[Batch]) -> float:
    """Share of the names, over all batches, whose best image token lies on the thing; NaN without names."""
    right = [
        pointing_accuracy(
            model.token_logits(model.backbone.image_tokens(batch.pixel_values), batch.names), batch.names.coverage
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
