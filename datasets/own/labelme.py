"""LabelMe: a json file per picture; each label is asked for, the answer is all of its shapes together."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from datasets.files import field, inside, open_json
from datasets.images import image_size
from datasets.masks import Part, parse_polygon, parse_run_lengths
from datasets.own.records import Asked, OwnPicture, Said, naming
from datasets.own.regions import Shapes, check_size
from datasets.templates import check_text

IGNORE = "__ignore__"
"""The label of pixels that count for no mask."""
BACKGROUND = "_background_"
"""The label of what is not asked for."""
_CORNERS_OF_CIRCLE = 72

Points = list[tuple[float, float]]


class LabelMe:
    """The pictures of a folder whose json files have shapes to ask for, sorted by the name of that file."""

    def __init__(self, folder: Path, images: Path | None) -> None:
        """Check every json file; pictures are where `imagePath` says, or under its last name in `images`."""
        self._folder, self._images = folder, images
        sources = sorted(folder.glob("*.json"))
        labels = {source: tuple(asked.names[0] for asked in self._read(source).asked) for source in sources}
        self._labels = {source: names for source, names in labels.items() if names}
        self._sources = list(self._labels)
        if not self._sources:
            raise ValueError(f"{folder}: none of its {len(sources)} json files has a shape to ask for; label something")

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> OwnPicture:
        return self._read(self._sources[index])

    def said(self) -> Iterator[Said]:
        """The labels of every image."""
        for index, (source, labels) in enumerate(self._labels.items()):
            for label in labels:
                yield Said(where=f"{source}: label {label!r:.60}", index=index, text=label)

    def _read(self, source: Path) -> OwnPicture:
        return read_labelme(open_json(source), source, self._images)


def read_labelme(record: Any, source: Path, images: Path | None) -> OwnPicture:
    """A picture with its labels; none where nothing is labelled. No pixel of the picture is read."""
    where = str(source)
    name = field(record, "imagePath", str, where).replace("\\", "/")
    with naming(where):
        path = _picture(source.parent, images, name)
        size = _size(record, path, where)
    parts: dict[str, list[Part]] = {}
    for index, shape in enumerate(field(record, "shapes", list, where)):
        place = f"{where}: shapes[{index}]"
        label = check_text(field(shape, "label", str, place), place)
        with naming(place):
            parts.setdefault(label, []).append(_part(shape, size, place))
    drawn = {
        label: Shapes(parts=tuple(of_label), height=size[0], width=size[1], where=where)
        for label, of_label in parts.items()
    }
    ignore = drawn.pop(IGNORE, None)
    drawn.pop(BACKGROUND, None)
    return OwnPicture(
        path=path,
        image_id=source.stem,
        asked=tuple(Asked(names=(label,), regions=(region,)) for label, region in drawn.items()),
        ignore=() if ignore is None else (ignore,),
    )


def _picture(folder: Path, images: Path | None, name: str) -> Path:
    if images is not None:
        return inside(images, PurePosixPath(name).name)
    try:
        return inside(folder, name)
    except ValueError as error:
        raise ValueError(f'{error}, or name the folder of the pictures: "{folder}|FOLDER"') from error


def _size(record: dict, path: Path, where: str) -> tuple[int, int]:
    """(height, width) of the annotation: that of the picture where the file does not say."""
    if record.get("imageHeight") is None or record.get("imageWidth") is None:
        return image_size(path)
    size = field(record, "imageHeight", int, where), field(record, "imageWidth", int, where)
    check_size(path, size, "the file")
    return size


def _part(shape: dict, size: tuple[int, int], where: str) -> Part:
    kind = shape.get("shape_type") or "polygon"
    points = _points(field(shape, "points", list, where))
    if kind == "mask":
        return _pasted(field(shape, "mask", str, where), points, size)
    if not isinstance(kind, str) or kind not in _OUTLINES:
        raise ValueError(
            f"a shape of type {kind!r:.40} has no area; draw one of {', '.join(_OUTLINES)}, mask, or remove it"
        )
    corners = _OUTLINES[kind](points)
    return parse_polygon([coordinate for point in corners for coordinate in point], *size)


def _points(points: list) -> Points:
    try:
        return [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"points is a list of pairs [x, y], not {points!r:.60}") from error


def _rectangle(points: Points) -> Points:
    """Two opposite corners, or all four."""
    if len(points) == 4:
        return points
    (x1, y1), (x2, y2) = _pair(points, "a rectangle", "two opposite corners, or four")
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _circle(points: Points) -> Points:
    """The centre and a point on the circle -> a regular polygon of the same area."""
    (x, y), (on_x, on_y) = _pair(points, "a circle", "its centre and a point on it")
    step = 2 * math.pi / _CORNERS_OF_CIRCLE
    radius = math.hypot(on_x - x, on_y - y) * math.sqrt(step / math.sin(step))
    return [(x + radius * math.cos(step * i), y + radius * math.sin(step * i)) for i in range(_CORNERS_OF_CIRCLE)]


def _pair(points: Points, what: str, meaning: str) -> Points:
    if len(points) != 2:
        raise ValueError(f"{what} is given by {meaning}, but has {len(points)} points")
    return points


_OUTLINES: dict[str, Callable[[Points], Points]] = {
    "polygon": lambda points: points,
    "rectangle": _rectangle,
    "circle": _circle,
}


def _pasted(text: str, points: Points, size: tuple[int, int]) -> Part:
    """LabelMe's mask: a PNG in base64 of the pixels from the first point to the second, both included."""
    corners = _pair(points, "a mask", "the first and the last pixel of its box")
    if not all(math.isfinite(value) for point in corners for value in point):
        raise ValueError("a mask has a coordinate that is not a finite number")
    (left, top), (right, bottom) = [(round(x), round(y)) for x, y in corners]
    if not (0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]):
        raise ValueError(f"a mask covers the box {points}, which is not inside the picture of {size[1]} x {size[0]}")
    box = (slice(top, bottom + 1), slice(left, right + 1))
    mask = np.zeros(size, dtype=bool)
    mask[box] = _decode(text, (right - left + 1, bottom - top + 1))
    lengths = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=~mask[-1, -1])), prepend=0)
    return parse_run_lengths({"size": list(size), "counts": lengths.tolist()}, *size)


def _decode(text: str, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool of a PNG in base64 that must be of (w, h) `size`."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.size == size:
                return np.array(image.convert("L")) != 0
            found = image.size
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"the mask of a shape is no PNG in base64 ({error}); save the file in LabelMe again"
        ) from error
    raise ValueError(f"the mask of a shape has {found} pixels, but its box {size}; save the file in LabelMe again")
