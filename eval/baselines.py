"""What a model must beat: answers that need no learning, and the model with the wrong question.

A mask baseline looks at a picture and never at the question, so it gives one mask for all of the
picture's samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from datasets.sample import Sample
    from lisa.conversation import Conversation

MEAN_MASK_GRID = 64
"""Cells along each side of the mean training mask."""

MEAN_MASK_TRAIN_MASKS = 1000
"""How many training masks the mean is taken over."""

THRESHOLD_FRACTIONS = np.arange(1, 10) / 10


def nothing(sample: Sample) -> np.ndarray:
    """No pixel at all, (H, W) bool."""
    return np.zeros(sample.image.shape[:2], dtype=bool)


def everything(sample: Sample) -> np.ndarray:
    """Every pixel, (H, W) bool."""
    return np.ones(sample.image.shape[:2], dtype=bool)


def largest(sample: Sample) -> np.ndarray | None:
    """The annotated thing with most pixels, (H, W) bool: the first of equals, empty in a picture without
    things; None where the data does not annotate things."""
    if sample.things is None:
        return None
    if len(sample.things) == 0:
        return nothing(sample)
    return sample.things[np.count_nonzero(sample.things, axis=(1, 2)).argmax()]


def fit_mean_mask(train_masks: Iterable[np.ndarray]) -> np.ndarray | None:
    """The mask that answers every question with where training targets tend to be, (64, 64) bool.

    The mean of the training masks, each stretched to the grid, is cut at the fraction of its maximum that
    has the best mean IoU on those same masks. None without training masks, or when all are empty.
    """
    # INTER_AREA keeps what share of a cell is covered, so that sums over cells are areas, without rounding.
    shape = (MEAN_MASK_GRID, MEAN_MASK_GRID)
    cells = [cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA) for mask in train_masks]
    if not cells or not np.any(cells):
        return None
    covered = np.stack(cells)  # (M, 64, 64) in 0 to 1
    mean = covered.mean(axis=0)
    candidates = [mean >= fraction * mean.max() for fraction in THRESHOLD_FRACTIONS]
    return max(candidates, key=lambda candidate: _mean_iou(candidate, covered))


def stretch(grid_mask: np.ndarray, sample: Sample) -> np.ndarray:
    """A mask on a grid, stretched over the sample's picture: (H, W) bool."""
    height, width = sample.image.shape[:2]
    return cv2.resize(grid_mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def questions_of_others(
    conversations: Sequence[Sequence[Conversation]], rng: np.random.Generator
) -> list[list[Conversation]] | None:
    """For each conversation of each picture, a conversation about another picture, each used exactly once.

    None when that cannot be: with one picture, or when one picture holds more than half of the questions.
    The wording may still be the same by chance, as it may for anybody who asks blindly.
    """
    order = rng.permutation(len(conversations))
    # Neighbours in the cyclic line below are of one picture, so a step by the largest picture leaves it.
    line = [(p, c) for p in order for c in rng.permutation(len(conversations[p]))]
    step = max((len(of_picture) for of_picture in conversations), default=0)
    if step == 0 or 2 * step > len(line):
        return None
    swapped = [list(of_picture) for of_picture in conversations]
    for (picture, place), (donor, taken) in zip(line, line[step:] + line[:step], strict=True):
        swapped[picture][place] = conversations[donor][taken]
    return swapped


def _mean_iou(candidate: np.ndarray, covered: np.ndarray) -> float:
    """Mean IoU of one (64, 64) bool mask with (M, 64, 64) shares of covered area."""
    intersection = covered[:, candidate].sum(axis=1)
    union = covered.sum(axis=(1, 2)) + np.count_nonzero(candidate) - intersection
    return float(np.mean(intersection / union))
