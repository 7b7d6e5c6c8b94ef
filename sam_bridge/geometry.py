"""Sizes in pixels: original, resized, padded; there and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sam_bridge.sizes import PIXEL_MEAN, PIXEL_STD, AnySize


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """The two sizes of one picture on its way through SAM."""

    original: tuple[int, int]
    """(H, W) of the file, pixels."""
    resized: tuple[int, int]
    """(h, w) in SAM's square: the longest side as long as the square, before padding, or the whole square."""
    straight: bool = False
    """Masks come back to the original size in one step (SAM 2), not by way of the square."""

    @staticmethod
    def of(original: tuple[int, int], image_size: int) -> ImageSize:
        """The longest side becomes `image_size`, the other keeps the aspect and at least one pixel."""
        scale = image_size / max(original)
        height, width = (max(1, int(side * scale + 0.5)) for side in original)
        return ImageSize(original=original, resized=(height, width))


def prepare_pixels(image: np.ndarray, sam: AnySize) -> tuple[Tensor, ImageSize]:
    """A picture (H, W, 3) uint8 RGB as the encoder of a SAM wants it: (3, s, s) float32."""
    return {"pad": resize_and_pad, "squash": squash}[sam.geometry](image, sam.image_size)


def squash(image: np.ndarray, image_size: int) -> tuple[Tensor, ImageSize]:
    """(3, image_size, image_size) float32, whatever the aspect was.

    Bilinear, averaging where it shrinks, unrounded, then normalised, as `sam2.utils.transforms` does.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    square = F.interpolate(pixels, (image_size, image_size), mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    size = ImageSize(original=image.shape[:2], resized=(image_size, image_size), straight=True)
    return (square - mean) / std, size


def resize_and_pad(image: np.ndarray, image_size: int) -> tuple[Tensor, ImageSize]:
    """A picture (H, W, 3) uint8 RGB as SAM's encoder wants it: (3, image_size, image_size) float32.

    Longest side resized with PIL's bilinear filter, normalised, then padded with zeros (the mean colour)
    at the right and the bottom, as `segment_anything.utils.transforms` and `Sam.preprocess` do.
    """
    size = ImageSize.of(image.shape[:2], image_size)
    height, width = size.resized
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    normalised = (resized.astype(np.float32) - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD)
    padded = np.zeros((3, image_size, image_size), np.float32)
    padded[:, :height, :width] = normalised.transpose(2, 0, 1)
    return torch.from_numpy(padded), size


def to_original_size(low_res: Tensor, size: ImageSize, image_size: int) -> Tensor:
    """Low-res logits (N, h', w') -> mask logits (N, H, W) in fp32; N may be 0.

    Bilinear to the padded square, padding cut off, bilinear to the picture's own size; or straight there.
    """
    if size.straight:
        return F.interpolate(low_res[:, None].float(), size.original, mode="bilinear")[:, 0]
    square = F.interpolate(low_res[:, None].float(), (image_size, image_size), mode="bilinear")
    height, width = size.resized
    return F.interpolate(square[..., :height, :width], size.original, mode="bilinear")[:, 0]


def masks_to_low_res(masks: np.ndarray, size: ImageSize, image_size: int, low_res: int) -> Tensor:
    """Target masks (N, H, W) bool -> (N, low_res, low_res) float32: share of each cell that is covered.

    The way of `prepare_pixels`, then an area average; the padding is 0.
    """
    height, width = size.resized
    cells = np.zeros((len(masks), low_res, low_res), np.float32)
    for mask, cell in zip(masks, cells, strict=True):
        square = np.zeros((image_size, image_size), np.float32)
        square[:height, :width] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        cell[:] = cv2.resize(square, (low_res, low_res), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cells)
