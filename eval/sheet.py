"""Predictions as one picture to look at: a row each, with question, target, prediction and answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.drawing import (
    CELL,
    GAP,
    INK,
    LINE,
    MAX_LINES,
    PAPER,
    SOFT_INK,
    TARGET_COLOR,
    TextStyle,
    overlay,
    wrap,
)
from eval.predictions import Prediction

TEXT_WIDTH = 420
HEAD_HEIGHT = 56
PREDICTION_COLOR = (226, 84, 40)

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
