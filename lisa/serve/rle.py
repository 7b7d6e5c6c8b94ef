"""Masks of reduced images at the size of the file, without ever being pixels of that size."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from lisa.formats import encode_rle


def enlarged_rle(mask: np.ndarray, height: int, width: int) -> dict:
    """A mask (h, w) bool as COCO's run-length code of (height, width), each at least as large; nearest pixels.

    An image can have a hundred times the pixels of the mask; runs of them are few.
    """
    if mask.shape == (height, width):
        return encode_rle(mask)
    rows, columns = mask.shape
    # Where a row or column of the mask begins in the larger grid: pixel y of it shows row y * rows // height.
    row_starts = -(-np.arange(rows + 1) * height // rows)
    column_starts = -(-np.arange(columns + 1) * width // columns)
    steps = np.diff(np.pad(mask, ((1, 1), (0, 0))).astype(np.int8), axis=0).T  # column by column, as the code goes
    column, first = np.nonzero(steps == 1)
    _, last = np.nonzero(steps == -1)
    # A column of the mask with its runs is written once for each column that shows it.
    number = np.bincount(column, minlength=columns)
    shown = np.repeat(np.arange(columns), np.diff(column_starts))
    earlier = np.cumsum(number[shown]) - number[shown]
    first_run = np.cumsum(number)[shown] - number[shown]
    run = np.repeat(first_run - earlier, number[shown])
    run = run + np.arange(len(run))
    offset = np.repeat(np.arange(width, dtype=np.int64) * height, number[shown])
    edges = np.stack([offset + row_starts[first[run]], offset + row_starts[last[run]]], axis=1).ravel()
    # A run to the lower end of a column goes on at the upper end of the next.
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
    edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(edges, prepend=0, append=height * width)
    if counts[-1] == 0:  # the last run reaches the lower right corner
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
