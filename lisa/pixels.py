"""Files -> pixels as a person sees them: decoded within limits, EXIF orientation, 8 bits, RGB."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from lisa.image_files import FORMATS

MAX_PIXELS = 150_000_000
"""Pictures of more pixels are refused: a file of a few bytes can declare a size that no memory holds."""

UNREADABLE = (
    OSError,  # truncated, not a picture, a folder, no permission
    SyntaxError,  # PIL's broken PNG
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    OverflowError,
    # What else Pillow's decoders raise on damaged bytes.
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
)
_SIXTEEN_BIT = 65535


class MovingPictureError(ValueError):
    """A file of several pictures, of which nobody knows which is meant."""


def open_image(
    source: Path | BinaryIO,
    name: str,
    *,
    decode: bool = True,
    formats: Sequence[str] = FORMATS,
    still: bool = False,
) -> tuple[Image.Image, int]:
    """The image in a file and its EXIF orientation (1 where the file does not say); ValueError calls it `name`.

    formats is what is tried, by Pillow's names; still refuses what moves or has several pages.
    """
    try:
        with Image.open(source, formats=accepted(formats)) as image:
            check_size(image.size)  # before EXIF is asked for, which decodes a PNG
            if still:
                refuse_moving(image, name)
            if decode or image.format == "PNG":  # whose EXIF may stand behind the pixels
                image.load()
            return image, exif_orientation(image)
    except Image.DecompressionBombError as error:  # also Pillow's own, from 179 megapixels
        raise too_large(name, error) from error
    except MovingPictureError:
        raise
    except UNREADABLE as error:
        # Pillow calls what it does not know by its address in memory, or by its path again.
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"{name}: cannot be read as a picture ({reason}); it is damaged, cut off or of an unknown format. "
            "Restore it, or save it again as PNG or JPEG"
        ) from error


def accepted(formats: Sequence[str] = FORMATS) -> tuple[str, ...]:
    """Those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)


def refuse_moving(image: Image.Image, name: str) -> None:
    """ValueError for an animation, or a file of several pages."""
    # Cameras put a preview into the same JPEG, which is then an MPO of two frames.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise MovingPictureError(
            f"{name}: this {image.format} holds several pictures (an animation, or pages); save the one that you mean "
            "as PNG or JPEG"
        )


def check_size(size: tuple[int, int]) -> None:
    """DecompressionBombError when a picture of (W, H) pixels is beyond the limit."""
    if size[0] * size[1] > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{size[0]} x {size[1]}")


def too_large(name: str, error: Exception) -> ValueError:
    """The error for a picture beyond the limit."""
    return ValueError(
        f"{name}: declares a size beyond the limit of {MAX_PIXELS // 1_000_000} megapixels ({error}); "
        "make it smaller if it is what it says, or remove it"
    )


def exif_orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the image does not say, or says it in a damaged block, which a viewer passes over as well."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return orientation if orientation in range(1, 9) else 1


def orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """(h, w, ...) as stored -> (H, W, ...) as displayed, contiguous, for an EXIF orientation (1 to 8)."""
    if orientation in (2, 4, 5, 7):
        array = array[:, ::-1]
    quarter_turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)  # counter-clockwise
    return np.ascontiguousarray(np.rot90(array, quarter_turns))


def to_rgb(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8 in stored geometry: 16 bits are scaled to 8, transparency is dropped."""
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
