"""Outlines -> masks, pixel for pixel as the official masks of ReasonSeg were drawn (OpenCV 4's fillPoly and polylines).

OpenCV 5 rounds the right end of a row down where it lies in the middle between two pixels; OpenCV 4 rounded it up.
Of an outline that leaves the picture, pixels of the border may differ: OpenCV 4 moved its edges when it cut them off.
"""

from __future__ import annotations

import cv2
import numpy as np

_FRACTION_BITS = 16  # of OpenCV's fixed-point numbers


def draw_outline(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) bool of an outline, (K, 2) x and y in pixels: decimals cut off, border included."""
    corners = points.astype(np.int32)
    border = np.zeros((height, width), dtype=np.uint8)
    cv2.polylines(border, [corners[:, None]], isClosed=True, color=1, thickness=1)
    return border.astype(bool) | _fill(corners.astype(np.int64), height, width)


def _fill(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """What lies between the 1st and 2nd, 3rd and 4th, ... crossing of each row with the outline."""
    rows, xs = _crossings(corners)
    order = np.lexsort((xs, rows))
    row, left, right = rows[order][::2], xs[order][::2], xs[order][1::2]
    half = 1 << (_FRACTION_BITS - 1)
    left, right = (left + half) >> _FRACTION_BITS, (right + half) >> _FRACTION_BITS
    seen = (row >= 0) & (row < height) & (right >= 0) & (left < width) & (left <= right)
    row, left, right = row[seen], left[seen].clip(0), right[seen].clip(max=width - 1)
    steps = np.zeros((height, width + 1), dtype=np.int32)
    np.add.at(steps, (row, left), 1)
    np.add.at(steps, (row, right + 1), -1)
    return steps[:, :width].cumsum(axis=1) > 0


def _crossings(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and x (fixed point) of every crossing of the outline with the middle of a row."""
    ends = np.roll(corners, 1, axis=0)
    upward = corners[:, 1] < ends[:, 1]
    top, bottom = np.where(upward[:, None], corners, ends), np.where(upward[:, None], ends, corners)
    counts = bottom[:, 1] - top[:, 1]  # a level edge crosses no row
    run = (bottom[:, 0] - top[:, 0]) << _FRACTION_BITS
    slope = np.sign(run) * (abs(run) // counts.clip(1))  # cut off towards 0, as OpenCV does
    edge = np.repeat(np.arange(len(corners)), counts)
    down = np.arange(len(edge)) - np.repeat(counts.cumsum() - counts, counts)
    return top[edge, 1] + down, (top[edge, 0] << _FRACTION_BITS) + slope[edge] * down
