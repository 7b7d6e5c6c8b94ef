"""Masks drawn into their picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

PALETTE = np.array(
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (240, 228, 66)],
    np.uint8,
)
"""Colours of masks, RGB, in the order of the masks; they repeat after the last.

Those of Okabe and Ito (2008), which colour-blind people tell apart, as on the page.
"""


def overlay_masks(image: np.ndarray, masks: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB with every mask (N, H, W) in its colour and a line around it."""
    drawn = image.copy()
    for index, mask in enumerate(masks):
        colour = PALETTE[index % len(PALETTE)]
        drawn[mask] = ((1 - opacity) * drawn[mask] + opacity * colour).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour.tolist(), 1, cv2.LINE_AA)
    return drawn


def with_legend(image: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
    """The picture with a line of text below it for every phrase, in the colour of its mask."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    width = max([image.shape[1], *(int(font.getlength(phrase)) + 34 for phrase in phrases)])
    canvas = Image.new("RGB", (width, image.shape[0] + 20 * len(phrases) + 4), "white")
    canvas.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for index, phrase in enumerate(phrases):
        top = image.shape[0] + 4 + 20 * index
        draw.rectangle((6, top, 20, top + 13), fill=tuple(PALETTE[index % len(PALETTE)].tolist()))
        draw.text((28, top - 2), phrase or "(no words)", fill="black", font=font)
    return np.asarray(canvas)


def png_bytes(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8, as a PNG, which is lossless."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", pixels)
    assert done, "OpenCV encodes every 8-bit picture"
    return data.tobytes()


def write_png(path: Path, pixels: np.ndarray) -> None:
    """The same in a file."""
    data = png_bytes(pixels)
    try:
        path.write_bytes(data)
    except OSError as error:
        reason = f"{error.strerror}; is the folder writable and the disk not full?"
        raise OSError(f"cannot write {path} ({reason})") from error
