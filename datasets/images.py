"""Picture files -> pixels as a person sees them, and masks brought into the same geometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lisa.pixels import open_image, orient, to_rgb

_TRANSPOSING = (5, 6, 7, 8)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a picture file says about itself before its pixels."""

    size: tuple[int, int]  # (H, W) as displayed, pixels
    orientation: int  # EXIF orientation; 1 where the file does not say

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether an annotation of `size` (h, w) can belong to the picture: `Picture.align` takes the same ones."""
        return size == self.size or (self.orientation in _TRANSPOSING and size == self.size[::-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded picture."""

    path: Path
    pixels: np.ndarray  # (H, W, 3) uint8 RGB, EXIF orientation applied
    orientation: int  # EXIF orientation of the file; 1 where pixels lie as they are stored

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as displayed, pixels."""
        return self.pixels.shape[:2]

    def align(self, mask: np.ndarray, source: str) -> np.ndarray:
        """An annotation of this picture, (h, w) of any dtype, in the geometry of `pixels`: (H, W).

        The size decides. An annotation of the displayed size is returned as it is; one of the stored size
        (EXIF says that the file lies on its side) is turned like the picture was. Where the two sizes are the
        same (turned by 180 degrees, mirrored, square) the displayed geometry is assumed, as every annotation
        tool shows it. Any other size raises ValueError; `source` names the annotation in it.
        """
        if mask.shape == self.size:
            return mask
        if self.orientation in _TRANSPOSING and mask.shape == self.size[::-1]:
            return orient(mask, self.orientation)
        height, width = self.size
        raise ValueError(
            f"{source} is for {mask.shape[1]} x {mask.shape[0]} pixels (width x height), but {self.path} has "
            f"{width} x {height}; restore the picture that was annotated, or annotate this one"
        )


def read_picture(path: Path) -> Picture:
    """Decode a picture of any mode; a missing or damaged file raises an error that names it."""
    image, orientation = _open(path)
    try:
        pixels = to_rgb(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Picture(path=path, pixels=orient(pixels, orientation), orientation=orientation)


def read_image(path: str | Path) -> np.ndarray:
    """The pixels of a picture file: (H, W, 3) uint8 RGB, EXIF orientation applied.

    Greyscale is repeated over the channels, 16 bits are scaled to 8, transparency is dropped.
    """
    return read_picture(Path(path)).pixels


def read_label_map(path: Path) -> np.ndarray:
    """The ids of a label image (palette or greyscale, 8 or 16 bit): (h, w) integers, EXIF applied."""
    image, orientation = _open(path)
    ids = np.array(image)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"{path}: a label map has one integer id per pixel, but this file is of mode {image.mode}; "
            "export it as an 8-bit greyscale or palette PNG"
        )
    return orient(ids, orientation)


def read_header(path: Path) -> Header:
    """Size and orientation of a picture; no pixel of a JPEG is decoded."""
    image, orientation = _open(path, decode=False)
    width, height = image.size
    size = (width, height) if orientation in _TRANSPOSING else (height, width)
    return Header(size=size, orientation=orientation)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) as displayed, pixels, from the header alone."""
    return read_header(path).size


def _open(path: Path, decode: bool = True) -> tuple[Image.Image, int]:
    """The picture and its EXIF orientation (1 where the file does not say)."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture; check the path")
    return open_image(path, str(path), decode=decode)
