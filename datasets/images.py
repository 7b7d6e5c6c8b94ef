"""Picture files -> pixels as a person sees them, and masks brought into the same geometry."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

_UNREADABLE = (
    OSError,  # truncated, not a picture, a folder, no permission
    SyntaxError,  # PIL's broken PNG
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    OverflowError,
)
_TRANSPOSING = (5, 6, 7, 8)
MAX_PIXELS = 150_000_000
"""Pictures of more pixels are refused: a file of a few bytes can declare a size that no memory holds."""
_SIXTEEN_BIT = 65535


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
        pixels = _rgb(image)
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


def orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """(h, w, ...) as stored -> (H, W, ...) as displayed, contiguous, for an EXIF orientation (1 to 8)."""
    if orientation in (2, 4, 5, 7):
        array = array[:, ::-1]
    quarter_turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)  # counter-clockwise
    return np.ascontiguousarray(np.rot90(array, quarter_turns))


def _open(path: Path, decode: bool = True) -> tuple[Image.Image, int]:
    """The picture and its EXIF orientation (1 where the file does not say)."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture; check the path")
    try:
        with Image.open(path) as image:
            # Before EXIF is asked for, which decodes a PNG.
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height}")
            if decode:
                image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Image.DecompressionBombError as error:  # also Pillow's own, from 179 megapixels
        raise ValueError(
            f"{path}: declares a size beyond the limit of {MAX_PIXELS // 1_000_000} megapixels ({error}); "
            "make it smaller if it is what it says, or remove it"
        ) from error
    except _UNREADABLE as error:
        raise ValueError(
            f"{path}: cannot be read as a picture ({error}); it is damaged, cut off or of an unknown format. "
            "Restore it, or save it again as PNG or JPEG"
        ) from error
    return image, orientation


def _rgb(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8 in stored geometry."""
    if image.mode == "F":
        raise ValueError("a picture of floating-point values has no defined brightness; save it with 8 bits")
    if image.mode.startswith("I"):
        return np.repeat(_eight_bits(np.array(image))[:, :, None], 3, axis=2)
    if image.mode == "P":
        # Straight to RGB, PIL warns about transparent palette entries.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """16-bit brightness, scaled to 0..255 and rounded; PIL's own conversion would clip at 255."""
    levels = levels.astype(np.int64)
    if levels.size and (levels.min() < 0 or levels.max() > _SIXTEEN_BIT):
        raise ValueError(
            f"brightness runs from {levels.min()} to {levels.max()}, more than 16 bits; save it with 8 bits"
        )
    return ((levels * 255 + _SIXTEEN_BIT // 2) // _SIXTEEN_BIT).astype(np.uint8)
