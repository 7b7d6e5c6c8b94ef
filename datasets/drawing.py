"""How pictures, masks and words look on the sheets that people check data and predictions by."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import ImageFont

CELL = (300, 225)  # (width, height) that a picture is fitted into, pixels
GAP = 24

PAPER = (252, 251, 248)
LINE = (226, 223, 214)
INK = (32, 34, 40)
SOFT_INK = (128, 126, 118)
TARGET_COLOR = (20, 150, 110)
IGNORE_COLOR = (120, 120, 120)

OUTLINE = 3  # width of a mask's outline, pixels
MAX_LINES = 3  # of a question or an answer; longer ones end in an ellipsis


@dataclass(frozen=True)
class TextStyle:
    """How a paragraph looks; size and leading in pixels."""

    size: int
    color: tuple[int, int, int]

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """Pillow's own font, so that the sheet looks the same on any machine."""
        return ImageFont.load_default(size=self.size)

    @property
    def leading(self) -> int:
        """From one baseline to the next."""
        return round(1.35 * self.size)


def overlay(
    image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], ignore: np.ndarray | None = None
) -> np.ndarray:
    """The picture with the mask tinted and outlined, all else paled; ignored pixels are grey.

    image is (H, W, 3) uint8 RGB, mask and ignore (H, W) bool; returns a new (H, W, 3) uint8.
    """
    pale = 0.5 * image.mean(axis=2, keepdims=True) + 0.15 * image + 0.35 * 255
    tinted = 0.75 * image + 0.25 * np.array(color)
    drawn = np.where(mask[..., None], tinted, pale).astype(np.uint8)
    if ignore is not None:
        drawn[ignore] = IGNORE_COLOR
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(drawn, outlines, -1, color, thickness=OUTLINE, lineType=cv2.LINE_AA)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, max_lines: int = MAX_LINES) -> list[str]:
    """Break a text into lines of at most `width` pixels; a word that is too long is broken anywhere.

    Line breaks in the text are blanks. Beyond `max_lines` the last line ends in an ellipsis.
    """
    lines, line = [], ""
    for word in text.split():
        candidate = f"{line} {word}".strip()
        if font.getlength(candidate) <= width:
            line = candidate
            continue
        lines += [line] if line else []
        *whole, line = _break_word(word, font, width)
        lines += whole
        if len(lines) > max_lines:
            break
    lines += [line] if line else []
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], _with_ellipsis(lines[max_lines - 1], font, width)]
    return lines


def _break_word(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The word in pieces of at most `width` pixels (at least one character each)."""
    pieces = [""]
    for character in word:
        if pieces[-1] and font.getlength(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _with_ellipsis(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip(" .,") + "…"
