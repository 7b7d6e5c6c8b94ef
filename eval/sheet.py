"""Predictions as one picture to look at: a row each, with question, target, prediction and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eval.predictions import Prediction

CELL = (300, 225)  # (width, height) that a picture is fitted into, pixels
TEXT_WIDTH = 420
GAP = 24
HEAD_HEIGHT = 56

PAPER = (252, 251, 248)
LINE = (226, 223, 214)
INK = (32, 34, 40)
SOFT_INK = (128, 126, 118)
TARGET_COLOR = (20, 150, 110)
PREDICTION_COLOR = (226, 84, 40)
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


SMALL = TextStyle(15, SOFT_INK)
QUESTION = TextStyle(21, INK)
ANSWER = TextStyle(18, INK)


def prediction_sheet(rows: Sequence[Prediction], path: Path) -> None:
    """Draw the rows below each other and save them as PNG (or what the suffix of `path` says)."""
    if not rows:
        raise ValueError(f"{path}: a sheet needs at least one prediction")
    row_height = CELL[1] + GAP
    width = 3 * (CELL[0] + GAP) + TEXT_WIDTH + 2 * GAP
    sheet = Image.new("RGB", (width, HEAD_HEIGHT + row_height * len(rows) + GAP // 2), PAPER)
    _draw_head(ImageDraw.Draw(sheet))
    for i, row in enumerate(rows):
        _draw_row(sheet, row, top=HEAD_HEIGHT + i * row_height)
    sheet.save(path)


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


def _draw_head(draw: ImageDraw.ImageDraw) -> None:
    titles = [
        ("picture", SOFT_INK),
        ("target", TARGET_COLOR),
        ("prediction", PREDICTION_COLOR),
        ("question and answer", SOFT_INK),
    ]
    for column, (title, color) in enumerate(titles):
        draw.text((_left(column), 20), title, font=ImageFont.load_default(size=20), fill=color)


def _draw_row(sheet: Image.Image, row: Prediction, top: int) -> None:
    prediction = row.masks.any(axis=0)
    # Fitted before they are drawn on, so that outlines are as wide on small pictures as on large ones.
    image = _fit(row.sample.image, cv2.INTER_AREA)
    target, predicted, ignore = (
        _fit(mask.astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
        for mask in (row.target, prediction, row.sample.ignore)
    )
    columns = [
        image,
        overlay(image, target, TARGET_COLOR, ignore),
        overlay(image, predicted, PREDICTION_COLOR),
    ]
    for column, picture in enumerate(columns):
        height, width = picture.shape[:2]
        corner = (_left(column) + (CELL[0] - width) // 2, top + (CELL[1] - height) // 2)
        sheet.paste(Image.fromarray(picture), corner)
    draw = ImageDraw.Draw(sheet)
    if not row.target.any():
        _draw_badge(draw, "nothing to find", TARGET_COLOR, _left(1), top)
    if not prediction.any():
        _draw_badge(draw, "empty mask" if len(row.masks) else "no mask", PREDICTION_COLOR, _left(2), top)
    _draw_words(draw, row, top)
    bottom = top + CELL[1] + GAP // 2
    draw.line([(GAP, bottom), (sheet.width - GAP, bottom)], fill=LINE)


def _draw_words(draw: ImageDraw.ImageDraw, row: Prediction, top: int) -> None:
    left = _left(3)
    source = "  ·  ".join(filter(None, [row.sample.data, row.kind, row.mode.replace("_", "-")]))
    y = _draw_paragraph(draw, source, SMALL, left, top, max_lines=1)
    y = _draw_paragraph(draw, row.question, QUESTION, left, y + 6)
    _draw_paragraph(draw, row.answer, ANSWER, left, y + 10)
    bar_top = top + CELL[1] - 8
    draw.text((left, bar_top - 24), f"IoU {row.iou:.2f}", font=SMALL.font, fill=SMALL.color)
    draw.rounded_rectangle([left, bar_top, left + TEXT_WIDTH, bar_top + 8], radius=4, fill=LINE)
    if row.iou >= 0.02:  # a shorter bar has no room for its round ends
        filled = round(row.iou * TEXT_WIDTH)
        draw.rounded_rectangle([left, bar_top, left + filled, bar_top + 8], radius=4, fill=PREDICTION_COLOR)


def _draw_paragraph(
    draw: ImageDraw.ImageDraw, text: str, style: TextStyle, left: int, top: int, max_lines: int = MAX_LINES
) -> int:
    """Draw a wrapped text; returns the y below it."""
    for line in wrap(text, style.font, TEXT_WIDTH, max_lines):
        draw.text((left, top), line, font=style.font, fill=style.color)
        top += style.leading
    return top


def _draw_badge(draw: ImageDraw.ImageDraw, text: str, color: tuple[int, int, int], left: int, top: int) -> None:
    """A short text on a coloured plate in the middle of the cell."""
    center = (left + CELL[0] // 2, top + CELL[1] // 2)
    box = draw.textbbox(center, text, font=SMALL.font, anchor="mm")
    draw.rounded_rectangle([box[0] - 10, box[1] - 7, box[2] + 10, box[3] + 7], radius=8, fill=color)
    draw.text(center, text, font=SMALL.font, fill=PAPER, anchor="mm")


def _fit(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """The picture, (H, W) or (H, W, 3) uint8, as large as the cell allows; at least one pixel each way."""
    height, width = picture.shape[:2]
    scale = min(CELL[0] / width, CELL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale > 1 and interpolation == cv2.INTER_AREA:
        interpolation = cv2.INTER_CUBIC  # INTER_AREA enlarges in blocks
    return cv2.resize(picture, size, interpolation=interpolation)


def _left(column: int) -> int:
    """x where a column begins; three pictures, then the words."""
    return GAP + column * (CELL[0] + GAP)


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
