"""Answer: what LISA says about a picture, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lisa.conversation import SEG

PALETTE = np.array(
    [(230, 60, 60), (60, 130, 246), (34, 180, 100), (245, 170, 30), (160, 90, 230), (20, 190, 200), (240, 90, 170)],
    np.uint8,
)
"""Colours of masks, RGB, in the order of the masks; they repeat after the last."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer about one picture of (H, W) pixels; N masks, one for each [SEG]."""

    text: str
    """The words, with [SEG] where the answer points."""
    masks: np.ndarray
    """(N, H, W) bool."""
    scores: np.ndarray
    """(N,) float in [0, 1]: the IoU that the mask decoder expects of each mask."""

    @property
    def phrases(self) -> list[str]:
        """The words that lead to each [SEG]: N strings, "" where nothing stands before it."""
        pieces = self.text.split(SEG)[: len(self.masks)]
        return [piece.strip(" ,.;:") for piece in pieces]


def overlay_masks(image: np.ndarray, masks: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB with every mask (N, H, W) in its colour and a line around it."""
    drawn = image.copy()
    for index, mask in enumerate(masks):
        colour = PALETTE[index % len(PALETTE)]
        drawn[mask] = ((1 - opacity) * drawn[mask] + opacity * colour).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour.tolist(), 1, cv2.LINE_AA)
    return drawn


def save_masks(answer: Answer, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """Every mask as a lossless PNG (0 and 255), and one overlay with all of them; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index, mask in enumerate(answer.masks):
        written.append(folder / f"{stem}_mask_{index}.png")
        _write_png(written[-1], mask.astype(np.uint8) * 255)
    if len(answer.masks):
        written.append(folder / f"{stem}_overlay.png")
        legend = _with_legend(overlay_masks(image, answer.masks), answer.phrases)
        _write_png(written[-1], cv2.cvtColor(legend, cv2.COLOR_RGB2BGR))
    return written


def _with_legend(image: np.ndarray, phrases: list[str]) -> np.ndarray:
    """A line of text in its mask's colour below the picture for every phrase."""
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


def _write_png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"cannot write {path}; is the folder writable and the disk not full?")
