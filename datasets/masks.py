"""COCO-style segmentations -> bool masks, with one rasteriser for every dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

_MIN_POINTS = 3


@dataclass(frozen=True, eq=False)
class Polygon:
    """A checked polygon: x and y alternate, in pixels, (0, 0) is the corner of the first pixel."""

    xy: np.ndarray  # (2 K,) float64, K >= 3


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A checked run-length code: lengths of background, foreground, background, ..., down the columns."""

    counts: np.ndarray  # (R,) int64, the sum is height x width


Part = Polygon | RunLengths


def parse_segmentation(segmentation: Any, height: int, width: int) -> tuple[Part, ...]:
    """The parts of a COCO `segmentation`: a list of polygons or RLE dicts, or one RLE dict; may be empty.

    Raises ValueError for what cannot be drawn; the caller adds file and record.
    """
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation is a list of polygons or a run-length code, not {segmentation!r:.40}")
    return tuple(_parse_part(part, height, width) for part in segmentation)


def _parse_part(part: Any, height: int, width: int) -> Part:
    parse = parse_run_lengths if isinstance(part, dict) else parse_polygon
    return parse(part, height, width)


def parse_polygon(xy: Any, height: int, width: int) -> Polygon:
    """A polygon given as [x, y, x, y, ...].

    What sticks out of the picture is cut off when it is drawn. A polygon that lies outside altogether, or
    further out than the picture is large, was drawn on another picture and is refused.
    """
    try:
        xy = np.asarray(xy, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a polygon is a list of numbers x, y, x, y, ..., not {xy!r:.60}") from error
    if xy.ndim != 1 or len(xy) % 2:
        raise ValueError(f"a polygon is a flat list of pairs x, y, but this one has the shape {xy.shape}")
    if len(xy) < 2 * _MIN_POINTS:
        raise ValueError(f"a polygon of {len(xy) // 2} points has no area; it needs {_MIN_POINTS} or must go")
    if not np.isfinite(xy).all():
        raise ValueError("a polygon has a coordinate that is not a finite number")
    for axis, values, limit in (("x", xy[0::2], width), ("y", xy[1::2], height)):
        low, high = values.min(), values.max()
        if high < 0 or low > limit or low < -limit or high > 2 * limit:
            raise ValueError(
                f"a polygon runs from {axis} = {low:g} to {high:g}, outside the picture of "
                f"{width} x {height} pixels; it belongs to another picture or size, or must be corrected"
            )
    return Polygon(xy)


def parse_run_lengths(code: dict, height: int, width: int) -> RunLengths:
    """A COCO RLE dict: `size` [height, width], `counts` a list of lengths or COCO's compressed text.

    The lengths are checked here because pycocotools returns uninitialised memory where they fall short.
    """
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"a run-length code is of size {size}, but its picture of [{height}, {width}]")
    if isinstance(counts, str):
        counts = counts.encode()
    counts = _decompress(counts) if isinstance(counts, bytes) else np.asarray(counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError("the counts of a run-length code are not lengths; restore the annotation file")
    if counts.sum() != height * width:
        raise ValueError(f"the counts of a run-length code cover {counts.sum()} pixels, not {height * width}")
    return RunLengths(counts.astype(np.int64))


def rasterise(parts: Iterable[Part], height: int, width: int) -> np.ndarray:
    """The union of the parts: (height, width) bool; all false where there are none."""
    mask = np.zeros((height, width), dtype=bool)
    polygons = []
    for part in parts:
        if isinstance(part, Polygon):
            polygons.append(part.xy)
        else:
            foreground = np.arange(len(part.counts)) % 2 == 1
            mask |= np.repeat(foreground, part.counts).reshape(width, height).T
    if polygons:
        mask |= coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))) > 0
    return mask


def segmentation_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A COCO `segmentation` -> (height, width) bool: the union of its parts, never counted twice."""
    return rasterise(parse_segmentation(segmentation, height, width), height, width)


def stack(masks: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Masks of one size -> (N, height, width) bool, N may be 0."""
    return np.stack(masks) if len(masks) else np.zeros((0, height, width), dtype=bool)


def _decompress(text: bytes) -> np.ndarray:
    """The lengths in COCO's compressed text: (R,) int64.

    Each character holds 5 bits of a number, lowest first, and one bit that says whether more follow; the
    highest bit of the last is the sign. From the fourth number on, the difference to the one two before.
    """
    characters = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - ord("0")
    if len(characters) == 0 or (characters < 0).any() or (characters > 63).any() or characters[-1] & 32:
        raise ValueError("the counts of a run-length code are cut off or damaged; restore the file")
    last = np.flatnonzero(characters & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 12:
        raise ValueError("the counts of a run-length code hold a number of more than 60 bits; it is damaged")
    place = 5 * (np.arange(len(characters)) - np.repeat(first, lengths))
    numbers = np.add.reduceat((characters & 31) << place, first)
    numbers -= np.where(characters[last] & 16, 1 << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
