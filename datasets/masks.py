"""COCO-style segmentations -> bool masks, with one rasteriser for every dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

_MIN_POINTS = 3
_NO_AREA_MEND = f"outline the thing with {_MIN_POINTS} points or more, or remove the annotation"


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

    Raises ValueError that tells of every part that cannot be drawn; the caller adds file and record.
    """
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation is a list of polygons or a run-length code, not {segmentation!r:.40}")
    _refuse_other_nesting(segmentation)
    parts, problems = [], []
    for number, part in enumerate(segmentation, start=1):
        try:
            parts.append(_parse_part(part, len(segmentation), height, width))
        except ValueError as error:
            problems.append(f"part {number} of {len(segmentation)}: {error}" if len(segmentation) > 1 else str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(parts)


def _refuse_other_nesting(segmentation: list) -> None:
    """Refuse numbers with a pair of brackets too few or too many, with the mend."""
    if segmentation and all(isinstance(part, int | float) for part in segmentation):
        raise ValueError(
            f"the segmentation is one flat list of {len(segmentation)} numbers; a segmentation is a list of polygons, "
            "so put one more pair of brackets around it: [[x, y, x, y, ...]]"
        )
    if len(segmentation) >= _MIN_POINTS and all(_is_point(part) for part in segmentation):
        raise ValueError(
            f"the segmentation is a list of {len(segmentation)} points [x, y]; write them one after the other into one "
            "polygon: [[x, y, x, y, ...]]"
        )


def _is_point(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and all(isinstance(value, int | float) for value in part)


def _parse_part(part: Any, count: int, height: int, width: int) -> Part:
    """One of `count` parts of a segmentation."""
    if isinstance(part, dict):
        return parse_run_lengths(part, height, width)
    if isinstance(part, list) and len(part) < 2 * _MIN_POINTS and len(part) % 2 == 0:
        points = len(part) // 2
        raise ValueError(
            f"a polygon of {points} point{'s' * (points != 1)} has no area; "
            + ("remove this part, the others may stay" if count > 1 else _NO_AREA_MEND)
        )
    return parse_polygon(part, height, width)


def parse_polygon(xy: Any, height: int, width: int) -> Polygon:
    """A polygon given as [x, y, x, y, ...].

    What sticks out of the picture is cut off when it is drawn. A polygon that lies outside altogether, or
    further out than the picture is large, was drawn on another picture and is refused.
    """
    try:
        xy = np.asarray(xy, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a polygon is a list of numbers x, y, x, y, ..., not {xy!r:.60}") from error
    if xy.ndim != 1 or len(xy) % 2:
        found = f"{len(xy)} numbers, which is odd" if xy.ndim == 1 else f"the shape {xy.shape}"
        raise ValueError(f"a polygon is a flat list of pairs x, y, but this one has {found}; outline it anew")
    if len(xy) < 2 * _MIN_POINTS:
        raise ValueError(f"a polygon of {len(xy) // 2} points has no area; {_NO_AREA_MEND}")
    check_inside(xy.reshape(-1, 2), height, width)
    return Polygon(xy)


def check_inside(points: np.ndarray, height: int, width: int) -> None:
    """Refuse an outline, (K, 2) float x and y in pixels, that cannot have been drawn on a picture of this size."""
    if len(points) == 0:
        raise ValueError("an outline without points; remove it")
    if not np.isfinite(points).all():
        raise ValueError("a polygon has a coordinate that is not a finite number")
    for axis, values, limit in zip("xy", points.T, (width, height), strict=True):
        low, high = values.min(), values.max()
        if high < 0 or low > limit or low < -limit or high > 2 * limit:
            raise ValueError(
                f"a polygon runs from {axis} = {low:g} to {high:g}, outside the picture of "
                f"{width} x {height} pixels; it belongs to another picture or size, or must be corrected"
            )


def parse_run_lengths(code: dict, height: int, width: int) -> RunLengths:
    """A COCO RLE dict: `size` [height, width], `counts` a list of lengths or COCO's compressed text.

    The lengths are checked here because pycocotools returns uninitialised memory where they fall short.
    """
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise ValueError(f"a run-length code is of size {size!r:.40}, but its picture of [{height}, {width}]")
    if isinstance(counts, str):
        counts = counts.encode(errors="surrogatepass")  # what is not ASCII is refused below
    if isinstance(counts, list) and not all(isinstance(count, int) for count in counts):
        raise ValueError("the counts of a run-length code are not lengths; restore the annotation file")
    counts = _decompress(counts) if isinstance(counts, bytes) else np.asarray(counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError("the counts of a run-length code are not lengths; restore the annotation file")
    if counts.max() > height * width:  # also keeps the sum from wrapping around
        raise ValueError(f"a run-length code has a length of {counts.max()}, but {height * width} pixels")
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
