"""Image files of strangers -> pixels, within a budget of memory.

A file of 150 kB can hold 150 megapixels. Up to `full_megapixels` an image is decoded as everywhere in the library; a
larger one is decoded one at a time, and reduced strip by strip, so that nothing but the decoder's own buffer has the
file's size. The model itself sees far fewer pixels than what is left.
"""

from __future__ import annotations

import ctypes
import io
import math
import sys
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lisa.image_input import to_pixels
from lisa.pixels import UNREADABLE, accepted, check_size, exif_orientation, orient, refuse_moving, to_rgb, too_large
from lisa.serve.limits import Limits, RefusedError

NAME = "the image"
LONGEST_RATIO = 256
"""Of the sides of an image."""

_STRIP_PIXELS = 4_000_000
"""Pixels that are converted at once."""

_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes of a pixel in Pillow's memory; 4 for all other modes."""

_DECODER_BYTES = {"WEBP": 4, "AVIF": 8, "JPEG2000": 16, "TIFF": 4}
"""Bytes of a pixel that a format's decoder holds beside Pillow's; the others work line by line."""

_PROGRESSIVE_BYTES = 6
"""As above, of a progressive JPEG: two for each coefficient, whatever size it is decoded at."""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image as the model gets it, and its own size as a person sees it."""

    pixels: np.ndarray
    """(h, w, 3) uint8 RGB; a large image is reduced."""
    height: int
    width: int


def is_large(data: bytes, limits: Limits) -> bool:
    """Whether the image in a file has so many pixels that it is to be reduced; reads the head of the file only."""
    try:
        with Image.open(io.BytesIO(data), formats=accepted()) as image:
            return image.width * image.height > limits.full_megapixels * 1_000_000
    except (Image.DecompressionBombError, *UNREADABLE):
        return False  # reading it says what is wrong


def read_image(data: bytes, limits: Limits) -> ReadImage:
    """The image in a file; ValueError says why it cannot be used."""
    _check_sides(data)
    if not is_large(data, limits):
        pixels = to_pixels(data)
        return ReadImage(pixels, *pixels.shape[:2])
    try:
        return _read_large(data, limits)
    finally:
        return_memory()


def _check_sides(data: bytes) -> None:
    """Refuse, by the head of the file, a strip: its preparation alone would hold the model for seconds."""
    try:
        with Image.open(io.BytesIO(data), formats=accepted()) as image:
            width, height = image.size
    except (Image.DecompressionBombError, *UNREADABLE):
        return  # reading it says what is wrong
    if max(width, height) > LONGEST_RATIO * min(width, height):
        raise ValueError(
            f"{NAME} has {width} x {height} pixels; one side may be at most {LONGEST_RATIO} times the other: cut it"
        )


def return_memory() -> None:
    """Give freed memory back to the system, which the allocator else keeps for later; no effect outside of glibc."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(ctypes.c_size_t(0))


def _read_large(data: bytes, limits: Limits) -> ReadImage:
    most = limits.full_megapixels * 1_000_000
    try:
        with Image.open(io.BytesIO(data), formats=accepted()) as image:
            size = image.size
            check_size(size)
            refuse_moving(image, NAME)
            factor = math.ceil(math.sqrt(size[0] * size[1] / most))
            if image.format == "JPEG":
                image.draft(None, (math.ceil(size[0] / factor), math.ceil(size[1] / factor)))
            _check_budget(image, size, limits)
            image.load()
            orientation = exif_orientation(image)
            factor = math.ceil(math.sqrt(image.width * image.height / most))
            pixels = orient(_reduced(image, factor), orientation)
    except Image.DecompressionBombError as error:
        raise too_large(NAME, error) from error
    except RefusedError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{NAME}: cannot be read ({error}); save it again as PNG or JPEG") from error
    width, height = size[::-1] if orientation in (5, 6, 7, 8) else size
    return ReadImage(pixels, height, width)


def _check_budget(image: Image.Image, size: tuple[int, int], limits: Limits) -> None:
    """RefusedError 413 where decoding takes more memory than it may; size is (W, H) of the file, before a draft."""
    beside = _DECODER_BYTES.get(image.format or "", 0)
    if image.info.get("progressive"):
        beside = _PROGRESSIVE_BYTES
    needed = image.width * image.height * _MODE_BYTES.get(image.mode, 4) + size[0] * size[1] * beside
    if needed > limits.decode_megabytes * 1_000_000:
        raise RefusedError(
            413,
            f"{NAME} has {size[0]} x {size[1]} pixels, and decoding it as {image.format} would take "
            f"{needed // 1_000_000} MB of memory, more than {limits.decode_megabytes} MB; make it smaller",
        )


def _reduced(image: Image.Image, factor: int) -> np.ndarray:
    """(ceil(h / factor), ceil(w / factor), 3) uint8: the mean of each square of factor x factor pixels."""
    rows = max(1, _STRIP_PIXELS // image.width // factor) * factor
    strips = []
    for top in range(0, image.height, rows):
        strip = to_rgb(image.crop((0, top, image.width, min(top + rows, image.height))))
        strips.append(np.asarray(Image.fromarray(strip).reduce(factor)))
    return np.concatenate(strips)
