"""Regions of a picture: drawn from shapes, read from a mask file, or taken out of a label map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files import inside
from datasets.images import Picture, check_picture, image_size, read_header, read_label_map, read_picture
from datasets.masks import Part, parse_polygon, parse_segmentation, rasterise
from datasets.own.records import Region

_ID_MODES = ("L", "P", "I", "I;16", "I;16B", "I;16L")
_COLOUR_MODES = ("1", "RGB")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shapes:
    """The union of polygons and run-length codes; without any, nothing."""

    parts: tuple[Part, ...]
    height: int  # of the annotation, pixels
    width: int
    where: str  # file and record

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool, in the geometry of the decoded picture."""
        return picture.align(rasterise(self.parts, self.height, self.width), self.where)


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A PNG in which every pixel that is not 0 belongs to the region."""

    path: Path

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool, in the geometry of the decoded picture."""
        if read_header(self.path).mode in _COLOUR_MODES:
            drawn = read_picture(self.path).pixels.any(axis=2)
        else:
            drawn = read_label_map(self.path) != 0
        return picture.align(drawn, str(self.path))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """The pixels of some values in a label map."""

    ids: np.ndarray  # (h, w) integers
    values: tuple[int, ...]
    path: Path

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool, in the geometry of the decoded picture."""
        return picture.align(np.isin(self.ids, self.values), str(self.path))


def check_size(path: Path, size: tuple[int, int], source: str, data: bytes | None = None) -> None:
    """Refuse an annotation of (height, width) `size` that is neither the displayed nor the stored size of `path`."""
    header = read_header(path, data)
    if not header.fits(size):
        raise ValueError(
            f"{source} is for {size[1]} x {size[0]} pixels (width x height), but {path} has {header.size[1]} x "
            f"{header.size[0]}; restore the picture that was annotated, or annotate this one"
        )


def check_mask_file(path: Path, picture: Path, *, label_map: bool = False) -> None:
    """Refuse, by its header, a file that is no lossless mask of `picture`; a label map must hold ids."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: a mask is a PNG file; other formats may change its pixels. Export it as PNG")
    header = check_picture(path)
    check_size(picture, header.size, str(path))
    if header.mode not in (_ID_MODES if label_map else _ID_MODES + _COLOUR_MODES):
        raise ValueError(f"{path}: pixels of mode {header.mode} are ambiguous; export the mask as 8-bit greyscale PNG")


def read_region(value: Any, picture: Path, folder: Path, where: str) -> Region:
    """A mask as json lines write it, checked against the size of the picture, whose pixels are not read.

    A run-length code, one polygon [x, y, ...], a list of polygons (their union; none is an empty mask), or
    the name of a PNG file in `folder`. Polygons are in pixels of the picture as displayed.
    """
    if isinstance(value, str):
        path = inside(folder, value)
        check_mask_file(path, picture)
        return MaskFile(path)
    height, width = image_size(picture)
    if isinstance(value, dict):
        height, width = _code_size(value)
        check_size(picture, (height, width), "a run-length code")
        parts = parse_segmentation(value, height, width)
    elif isinstance(value, list) and value and not isinstance(value[0], (list, dict)):
        parts = (parse_polygon(value, height, width),)
    elif isinstance(value, list):
        parts = parse_segmentation(value, height, width)
    else:
        raise ValueError(f"a mask is a run-length code, a list of polygons or the name of a PNG, not {value!r:.40}")
    return Shapes(parts=parts, height=height, width=width, where=where)


def _code_size(code: dict) -> tuple[int, int]:
    match code.get("size"):
        case [int(height), int(width)]:
            return height, width
    raise ValueError(f"the size of a run-length code is [height, width] in pixels, not {code.get('size')!r:.40}")
