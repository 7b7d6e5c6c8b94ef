"""Masks as paths that a browser draws, and images as it shows them."""

from __future__ import annotations

import cv2
import numpy as np


def preview_scale(height: int, width: int, longest: int) -> float:
    """By how much an image is made smaller so that its longest side is at most `longest`; never larger than 1."""
    return min(1.0, longest / max(height, width))


def preview_jpeg(image: np.ndarray, longest: int) -> bytes:
    """The image (H, W, 3) uint8 RGB as a JPEG of at most `longest` pixels a side, and nothing else."""
    height, width = image.shape[:2]
    scale = preview_scale(height, width, longest)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done, "OpenCV encodes every 8-bit image"
    return data.tobytes()


def outline_path(mask: np.ndarray, longest: int, size: tuple[int, int] | None = None) -> str:
    """A mask (h, w) bool as an SVG path in pixels of the image, to be filled by the even-odd rule; "" when empty.

    size is the image's (H, W) where the mask is one of a reduced image. Drawn on a grid whose longest side is at most
    `longest`; it runs along the edges of the pixels.
    """
    height, width = mask.shape
    scale = preview_scale(height, width, longest)
    grid = mask.astype(np.uint8)
    if scale < 1:
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        grid = (cv2.resize(grid * np.uint8(255), smaller, interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    # OpenCV's contours run through the middles of pixels: with every pixel drawn as 3 x 3, they run near its edges.
    fine = cv2.resize(grid, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    height, width = size or (height, width)
    to_image = np.array([width / fine.shape[1], height / fine.shape[0]])
    pieces = []
    for contour in contours:
        points = (contour[:, 0] + 0.5) * to_image
        pieces.append("M" + "L".join(f"{x:.1f} {y:.1f}".replace(".0", "") for x, y in points) + "Z")
    return "".join(pieces)
