"""Shapes of LabelMe and of tools that write its files -> masks, pixel for pixel as LabelMe draws them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.files import field
from datasets.masks import check_inside
from lisa.pixels import open_image

LINE_WIDTH = 10
"""Pixels; of a line or linestrip, whose file says no width."""
POINT_RADIUS = 5

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shape:
    """A checked shape that lies on its image."""

    kind: str  # a key of _KINDS, or "mask"
    points: Points  # x and y, pixels
    pixels: np.ndarray | None = None  # (h, w) bool of a mask, whose corner is the first point


@dataclass(frozen=True)
class _Kind:
    """How a kind of shape is given and drawn."""

    draw: Callable[[ImageDraw.ImageDraw, Points], None]
    counts: Callable[[int], bool]  # whether it is given by this many points
    given_by: str


def _polygon(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.polygon(points, outline=1, fill=1)


def _rectangle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    if len(points) == 4:  # as X-AnyLabeling writes it
        return _polygon(draw, points)
    (x1, y1), (x2, y2) = points
    draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=1, fill=1)


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)


def _circle(draw: ImageDraw.ImageDraw, points: Points) -> None:
    _disc(draw, points[0], math.dist(*points))


def _point(draw: ImageDraw.ImageDraw, points: Points) -> None:
    _disc(draw, points[0], POINT_RADIUS)


def _line(draw: ImageDraw.ImageDraw, points: Points) -> None:
    draw.line(points, fill=1, width=LINE_WIDTH)


_FOUR_CORNERS = _Kind(_polygon, lambda count: count == 4, "its four corners")
_KINDS = {
    "polygon": _Kind(_polygon, lambda count: count >= 3, "three points or more"),
    "rectangle": _Kind(_rectangle, lambda count: count in (2, 4), "two opposite corners, or four"),
    "oriented_rectangle": _FOUR_CORNERS,
    "rotation": _FOUR_CORNERS,  # the same in X-AnyLabeling, as the next
    "quadrilateral": _FOUR_CORNERS,
    "circle": _Kind(_circle, lambda count: count == 2, "its centre and a point on it"),
    "line": _Kind(_line, lambda count: count == 2, "its two ends"),
    "linestrip": _Kind(_line, lambda count: count >= 2, "two points or more"),
    "point": _Kind(_point, lambda count: count == 1, "one point"),
}


def kind_of(shape: dict) -> str:
    """What a shape says that it is; ValueError for a kind that is not known."""
    kind = shape.get("shape_type") or "polygon"
    if kind == "mask" or (isinstance(kind, str) and kind in _KINDS):
        return kind
    raise ValueError(
        f"a shape of type {kind!r:.40} is not known; draw one of {', '.join(_KINDS)}, mask, or remove the shape"
    )


def parse_shape(shape: dict, size: tuple[int, int], where: str) -> Shape:
    """A shape of an image of (height, width) `size`; ValueError for what cannot be drawn there."""
    kind, points = kind_of(shape), _points(field(shape, "points", list, where))
    if kind == "mask":
        return _mask(field(shape, "mask", str, where), points, size)
    if not _KINDS[kind].counts(len(points)):
        count = f"{len(points)} point{'s' * (len(points) != 1)}"
        if kind == "polygon":
            raise ValueError(f"a polygon of {count} has no area; outline the thing, or remove the shape")
        raise ValueError(f"a {kind} is given by {_KINDS[kind].given_by}, but has {count}; draw it anew or remove it")
    check_inside(np.array(_extent(kind, points)), *size)
    return Shape(kind=kind, points=points)


def draw_shapes(shapes: Iterable[Shape], height: int, width: int) -> np.ndarray:
    """The union of shapes: (height, width) bool."""
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    pasted = np.zeros((height, width), dtype=bool)
    for shape in shapes:
        if shape.pixels is None:
            _KINDS[shape.kind].draw(draw, shape.points)
        else:
            left, top = map(int, shape.points[0])
            rows, columns = shape.pixels.shape
            pasted[top : top + rows, left : left + columns] |= shape.pixels
    return pasted | np.array(canvas, dtype=bool)


def _points(points: list) -> Points:
    try:
        return [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"points is a list of pairs [x, y], not {points!r:.60}") from error


def _extent(kind: str, points: Points) -> Points:
    """Points whose box holds the shape."""
    if kind != "circle":
        return points
    (x, y), radius = points[0], math.dist(*points)
    return [(x - radius, y - radius), (x + radius, y + radius)]


def _mask(text: str, points: Points, size: tuple[int, int]) -> Shape:
    """A PNG in base64 of the pixels from the first point to the second, both included."""
    if len(points) != 2:
        raise ValueError(f"a mask is given by the first and the last pixel of its box, but has {len(points)} points")
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a mask has a coordinate that is not a finite number; save the file in LabelMe again")
    (left, top), (right, bottom) = [(int(x), int(y)) for x, y in points]
    if not (0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]):
        raise ValueError(
            f"a mask covers the box {points}, which is not inside the image of {size[1]} x {size[0]} pixels; it "
            "belongs to another image or size, or must be drawn anew"
        )
    pixels = _decode(text, (right - left + 1, bottom - top + 1))
    return Shape(kind="mask", points=points, pixels=pixels)


def _decode(text: str, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool of a PNG in base64 that must be of (w, h) `size`."""
    try:
        image, _ = open_image(io.BytesIO(base64.b64decode(text, validate=True)), "the mask", formats=("PNG",))
    except ValueError as error:
        raise ValueError(
            f"the mask of a shape is no PNG in base64 ({error}); save the file in LabelMe again"
        ) from error
    if image.size != size:
        raise ValueError(
            f"the mask of a shape has {image.size} pixels, but its box {size}; save the file in LabelMe again"
        )
    return np.array(image.convert("L")) != 0
