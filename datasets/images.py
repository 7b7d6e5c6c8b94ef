"""Picture files -> pixels as a person sees them, and masks brought into the same geometry."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from lisa.pixels import open_image, orient, to_rgb

_TRANSPOSING = (5, 6, 7, 8)
_TAIL = 64  # bytes
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a picture file says about itself before its pixels."""

    size: tuple[int, int]  # (H, W) as displayed, pixels
    orientation: int  # EXIF orientation; 1 where the file does not say
    mode: str  # Pillow's name for what a pixel holds

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


def read_picture(path: Path, data: bytes | None = None) -> Picture:
    """Decode a picture of any mode, of a file or of `data`, which `path` holds; an error names the path."""
    image, orientation = _open(path, data)
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


def read_header(path: Path, data: bytes | None = None) -> Header:
    """Size, orientation and mode of a picture; no pixel of a JPEG is decoded."""
    if data is not None or not path.is_file():
        return _header(path, data)
    state = path.stat()
    return _known_header(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _known_header(path: Path, size: int, changed: int) -> Header:
    """The header of a file of this size and time of change: a PNG is decoded for it, so not for each of its masks."""
    return _header(path)


def _header(path: Path, data: bytes | None = None) -> Header:
    image, orientation = _open(path, data, decode=False)
    width, height = image.size
    size = (width, height) if orientation in _TRANSPOSING else (height, width)
    return Header(size=size, orientation=orientation, mode=image.mode)


def check_picture(path: Path, data: bytes | None = None) -> Header:
    """The header of a picture that can be decoded; ValueError or FileNotFoundError for any other.

    Pixels are decoded only where the file does not end as its format does. That finds every file that was cut off, but
    no damage in the middle.
    """
    header = read_header(path, data)
    if not (ends_well(path) if data is None else has_good_end(data, len(data))):
        read_picture(path, data)
    return header


def ends_well(path: Path) -> bool:
    """Whether a file ends as its format does, as far as that can be told without decoding it."""
    with path.open("rb") as file:
        head, length = file.read(_TAIL), file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _TAIL))
        return has_good_end(head + file.read(), length)


def has_good_end(data: bytes, length: int) -> bool:
    """Whether the first and last bytes are those of a whole file of `length` bytes.

    A PNG or a JPEG (which some cameras pad with zeros) has an end mark; WebP and BMP say how long they are.
    """
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 <= length
    if data.startswith(b"BM"):
        return int.from_bytes(data[2:6], "little") <= length
    return data.endswith(_PNG_END) or data.rstrip(b"\0").endswith(_JPEG_END)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) as displayed, pixels, from the header alone."""
    return read_header(path).size


def _open(path: Path, data: bytes | None = None, decode: bool = True) -> tuple[Image.Image, int]:
    """The picture and its EXIF orientation (1 where the file does not say)."""
    if data is not None:
        return open_image(io.BytesIO(data), str(path), decode=decode)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture; check the path")
    if not path.is_file():
        raise ValueError(f"{path}: cannot be read as a picture, since it is no file; restore the picture")
    return open_image(path, str(path), decode=decode)
