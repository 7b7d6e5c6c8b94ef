"""A contact sheet: random samples of every split, the target drawn, question and answer under it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from datasets.check.problems import printable
from datasets.check.shelf import Exhibit
from datasets.drawing import CELL, GAP, INK, LINE, PAPER, SOFT_INK, TARGET_COLOR, TextStyle, overlay, wrap
from datasets.images import read_picture
from lisa.conversation import SEG

PER_ROW = 4
TITLE = TextStyle(20, TARGET_COLOR)
QUESTION = TextStyle(15, INK)
ANSWER = TextStyle(15, SOFT_INK)
TITLE_HEIGHT = 38
WORDS_HEIGHT = 5 * QUESTION.leading  # three lines of question and two of answer


def draw_sheet(exhibits: dict[str, list[Exhibit]], path: Path) -> None:
    """Draw a band per row of exhibits and save it as PNG (or what the suffix of `path` says)."""
    bands = {row: shown for row, shown in exhibits.items() if shown}
    if not bands:
        raise ValueError(f"{path}: there is no sample to draw")
    band_height = TITLE_HEIGHT + CELL[1] + WORDS_HEIGHT + GAP
    width = PER_ROW * (CELL[0] + GAP) + GAP
    sheet = Image.new("RGB", (width, len(bands) * band_height + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for band, (row, shown) in enumerate(bands.items()):
        top = GAP // 2 + band * band_height
        draw.line([(GAP, top), (width - GAP, top)], fill=LINE)
        draw.text((GAP, top + 8), printable(row), font=TITLE.font, fill=TITLE.color)
        for column, exhibit in enumerate(shown[:PER_ROW]):
            _draw_cell(sheet, exhibit, GAP + column * (CELL[0] + GAP), top + TITLE_HEIGHT)
    sheet.save(path)


def _draw_cell(sheet: Image.Image, exhibit: Exhibit, left: int, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    try:
        drawn, is_empty = _painted(exhibit)
    except (ValueError, OSError) as error:
        _write(draw, f"cannot be drawn: {error}", ANSWER, left, top, lines=8)
        return
    height, width = drawn.shape[:2]
    sheet.paste(Image.fromarray(drawn), (left + (CELL[0] - width) // 2, top + (CELL[1] - height) // 2))
    below = _write(draw, exhibit.question, QUESTION, left, top + CELL[1] + 6, lines=3)
    answer = f"{exhibit.answer} (an empty mask)" if is_empty and SEG in exhibit.answer else exhibit.answer
    _write(draw, answer, ANSWER, left, below + 2, lines=2)


def _painted(exhibit: Exhibit) -> tuple[np.ndarray, bool]:
    """The picture as large as a cell allows, (h, w, 3) uint8, with its target, and whether there is none."""
    picture = read_picture(exhibit.path)
    target, ignore = exhibit.regions(picture)
    image = _fit(picture.pixels, cv2.INTER_AREA)
    if not target.any() and not ignore.any():
        return image, True
    small = [_fit(region.astype(np.uint8), cv2.INTER_NEAREST).astype(bool) for region in (target, ignore)]
    return overlay(image, small[0], TARGET_COLOR, small[1]), not target.any()


def _fit(pixels: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = min(CELL[0] / width, CELL[1] / height)
    if scale > 1 and interpolation == cv2.INTER_AREA:
        interpolation = cv2.INTER_CUBIC  # INTER_AREA enlarges in blocks
    return cv2.resize(
        pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=interpolation
    )


def _write(draw: ImageDraw.ImageDraw, text: str, style: TextStyle, left: int, top: int, lines: int) -> int:
    """A wrapped text; returns the y below it."""
    for line in wrap(printable(text), style.font, CELL[0], lines):
        draw.text((left, top), line, font=style.font, fill=style.color)
        top += style.leading
    return top
