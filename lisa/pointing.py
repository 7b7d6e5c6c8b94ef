"""Where a [SEG] points, before it is a mask in pixels: what a click corrects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lisa.decoding import Said
from lisa.modeling import LisaModel, MaskOutput
from sam_bridge import Clicks, Embeddings, ImageSize, correct_masks, to_original_size
from sam_bridge.correct import to_square


@dataclass(frozen=True)
class Click:
    """A point of the picture that belongs to the thing, or does not."""

    x: float
    """Pixels of the original picture, from its left edge."""
    y: float
    """Pixels from its upper edge."""
    inside: bool = True
    """Whether it belongs to the thing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointed:
    """What one [SEG] has found in its picture."""

    prompt: Tensor
    """(E,) prompt embedding."""
    low_res: Tensor
    """(l, l) logits of the mask."""
    expected_iou: float
    """In [0, 1]: the IoU that the mask decoder expects."""
    seg_probability: float
    """In [0, 1]: how probable [SEG] was where it was said."""


def point(model: LisaModel, said: Said, embedding: Embeddings, first: int = 0) -> list[Pointed]:
    """What the [SEG] of an answer, from number `first` on, find in the one picture of `embedding`."""
    if len(said.seg_states) == first:
        return []
    states = torch.stack(said.seg_states[first:])
    row_of = torch.zeros(len(states), dtype=torch.int64, device=states.device)
    return _pointed(model.masks_from_embeddings(states, row_of, embedding), said.seg_probabilities[first:])


def correct(
    model: LisaModel, pointed: Pointed, clicks: Sequence[Click], embedding: Embeddings, size: ImageSize
) -> Pointed:
    """The same [SEG] after some clicks, which are given to the mask decoder one more at a time, as they were made.

    `pointed` is what the answer gave, so that the result depends on nothing but it and the clicks; without any it is
    `pointed` itself.
    """
    height, width = size.original
    for click in clicks:
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise ValueError(
                f"a click at x {click.x:g}, y {click.y:g} is not in the picture of {width} x {height} pixels"
            )
    if not clicks:
        return pointed
    points = pointed.prompt.new_tensor([(click.x, click.y) for click in clicks], dtype=torch.float32)
    inside = torch.tensor([[click.inside for click in clicks]], device=points.device)
    given = Clicks(points=to_square(points, size)[None], inside=inside)
    low_res, scores = pointed.low_res[None], None
    for number in range(1, len(clicks) + 1):
        prompts = pointed.prompt[None]
        low_res, scores = correct_masks(
            model.sam, embedding, prompts, given.first(number), low_res, model.click_decoder
        )
    return replace(pointed, low_res=low_res[0], expected_iou=float(scores[0].float().clamp(0, 1)))


def to_mask(pointed: Pointed, size: ImageSize, image_size: int) -> np.ndarray:
    """The mask (H, W) bool in the original picture; image_size is the side of SAM's square."""
    return (to_original_size(pointed.low_res[None], size, image_size)[0] > 0).cpu().numpy()


def _pointed(output: MaskOutput, probabilities: Sequence[Tensor]) -> list[Pointed]:
    scores = output.scores.float().clamp(0, 1).tolist()
    return [
        Pointed(prompt=prompt, low_res=low_res, expected_iou=score, seg_probability=float(probability))
        for prompt, low_res, score, probability in zip(
            output.prompts, output.low_res, scores, probabilities, strict=True
        )
    ]
