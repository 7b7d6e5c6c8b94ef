"""Whatever people hold a picture in -> its pixels: a path, a URL, bytes, PIL, numpy or torch.

Everything is decoded within limits, and what cannot be meant is refused with a sentence.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from lisa.fetch import check_url, fetch
from lisa.pixels import (
    UNREADABLE,
    check_size,
    exif_orientation,
    open_image,
    orient,
    refuse_moving,
    to_rgb,
    too_large,
)

if TYPE_CHECKING:
    from torch import Tensor

    ImageInput: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray | Tensor"
    """A path, a URL, the bytes of a file, or a picture in memory."""

AllowUrl: TypeAlias = 'bool | Literal["private"]'
"""Whether addresses of images are fetched: no, from public hosts, or from those of private networks as well."""


def to_pixels(image: ImageInput, *, allow_url: AllowUrl = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB as a person sees the picture.

    Files and PIL pictures: EXIF orientation is applied, 16 bits are scaled to 8, transparency is dropped.
    Arrays: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, or float from 0 to 1. Tensors: the same with the channels
    first. A string that begins with http:// or https:// is fetched if `allow_url`, from public addresses only;
    "private" also allows those of private networks and of this machine.
    """
    if isinstance(image, str) and "://" in image:
        check_url(image)
        if not allow_url:
            raise ValueError(f"{image}: images are fetched from the network only with allow_url=True")
        return _decode(fetch(image, private=allow_url == "private"), image)
    if isinstance(image, str | Path):
        return _from_file(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _decode(bytes(image), "the picture")
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if hasattr(image, "detach"):  # a tensor, without importing torch
        return _from_tensor(image)
    raise ValueError(
        f"a picture is a path, a URL, bytes, a PIL image, a numpy array or a tensor, not {type(image).__name__}"
    )


def name_of(image: ImageInput) -> str:
    """The file name of a picture that has one, without folders; else ""."""
    if isinstance(image, str) and "://" in image:
        return Path(urlsplit(image).path).name
    if isinstance(image, Image.Image):
        image = getattr(image, "filename", "")
    return Path(image).name if isinstance(image, str | Path) else ""


def _from_file(path: Path) -> np.ndarray:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture; check the path")
    if not path.is_file():
        raise ValueError(f"{path}: a picture is a file, and this is none")  # reading a pipe would wait for ever
    return _rgb(*open_image(path, str(path), still=True), str(path))


def _decode(data: bytes, name: str) -> np.ndarray:
    return _rgb(*open_image(io.BytesIO(data), name, still=True), name)


def _from_pil(image: Image.Image) -> np.ndarray:
    name = "the picture"
    refuse_moving(image, name)
    try:
        check_size(image.size)
        image.load()
        orientation = exif_orientation(image)
    except Image.DecompressionBombError as error:
        raise too_large(name, error) from error
    except UNREADABLE as error:
        raise ValueError(f"{name}: cannot be read ({error}); it is damaged or cut off") from error
    return _rgb(image, orientation, name)


def _rgb(image: Image.Image, orientation: int, name: str) -> np.ndarray:
    try:
        return orient(to_rgb(image), orientation)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _from_tensor(tensor: Tensor) -> np.ndarray:
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] not in (1, 3, 4):
        raise ValueError(
            f"a tensor has its channels first, (3, H, W), but this one is {shape}; permute(2, 0, 1) moves them"
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy knows no bfloat16
    return _from_array((tensor.permute(1, 2, 0) if len(shape) == 3 else tensor).numpy())


def _from_array(array: np.ndarray) -> np.ndarray:
    """A copy: (H, W, 3) uint8."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ValueError(
            f"a picture in an array is (H, W, 3), may be grey (H, W) or have transparency (H, W, 4), not {array.shape}"
        )
    height, width = array.shape[:2]
    try:
        check_size((width, height))
    except Image.DecompressionBombError as error:
        raise too_large("the picture", error) from error
    array = _eight_bits(array[:, :, :3])
    return np.ascontiguousarray(np.broadcast_to(array, (height, width, 3))).copy()


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"a picture in an array is uint8, or float from 0 to 1, not {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (0 <= low <= high <= 1):  # also false for nan
        raise ValueError(
            f"a picture of {array.dtype} runs from 0 to 1, but this one from {low:.4g} to {high:.4g}; divide by "
            "255, or undo its normalisation"
        )
    return np.rint(array * 255).astype(np.uint8)
