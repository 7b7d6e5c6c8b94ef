"""Masks into polygons and RLE, so that rasterising them gives the mask back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as coco_mask

TOLERANCES = (0.5, 0.25)  # pixels that simplification may cut, coarsest first
WANTED_IOU = 0.985

Outline = np.ndarray  # (N, 2) float, x and y in pixels; the picture spans 0 to width and 0 to height


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A connected piece of a mask: its outer outline and its holes."""

    outer: Outline
    holes: tuple[Outline, ...]


def has_hole(mask: np.ndarray) -> bool:
    """Whether polygons alone cannot say the (H, W) bool mask."""
    rows, columns = np.nonzero(mask)
    window = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    tree = cv2.findContours(np.pad(window.astype(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[1]
    # The last column is the parent: only holes have one.
    return bool((tree[0, :, 3] >= 0).any())


def to_polygons(mask: np.ndarray) -> list[list[float]]:
    """COCO polygons [x, y, x, y, ...] of an (H, W) bool mask; a hole is joined to its outline by a slit.

    Points lie a quarter of a pixel inside of the pixels' edges, so that rasterisers that round to pixel
    centres, and those that cut off decimals and draw the border too, both give the mask back.
    """
    for tolerance in TOLERANCES:
        polygons = _polygons(mask, tolerance)
        if _iou(polygons, mask) >= WANTED_IOU:
            return polygons
    return _polygons(mask, 0.0)


def to_rle(mask: np.ndarray) -> dict[str, object]:
    """{"size": [H, W], "counts": str} of an (H, W) bool mask."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def _polygons(mask: np.ndarray, tolerance: float) -> list[list[float]]:
    joined = [_join(piece) for piece in _trace(mask, tolerance)]
    return [np.round(outline, 2).reshape(-1).tolist() for outline in joined]


def _iou(polygons: list[list[float]], mask: np.ndarray) -> float:
    decoded = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))).astype(bool)
    return float((decoded & mask).sum() / (decoded | mask).sum())


def _trace(mask: np.ndarray, tolerance: float) -> list[Piece]:
    """Pieces from left to right, as findContours sees them on the mask at twice its size."""
    rows, columns = np.nonzero(mask)
    top, left = int(rows.min()), int(columns.min())
    window = mask[top : rows.max() + 1, left : columns.max() + 1].astype(np.uint8)
    # Contours run through pixel centres; of doubled pixels these lie a quarter inside of the true edges.
    doubled = np.pad(window.repeat(2, 0).repeat(2, 1), 1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [_simplify((c[:, 0] - 0.5) / 2 + (left, top), tolerance) for c in contours]
    pieces = []
    for i, (_, _, _, parent) in enumerate(tree[0]):
        if parent == -1:
            holes = tuple(outlines[j] for j, node in enumerate(tree[0]) if node[3] == i)
            pieces.append(Piece(outer=outlines[i], holes=holes))
    return sorted(pieces, key=lambda piece: piece.outer.min(0).tolist())


def _simplify(outline: Outline, tolerance: float) -> Outline:
    if not tolerance or len(outline) < 4:
        return outline
    simple = cv2.approxPolyDP(outline.astype(np.float32)[:, None], tolerance, True)[:, 0].astype(float)
    return simple if len(simple) >= 3 else outline


def _join(piece: Piece) -> Outline:
    """One closed outline that goes in to each hole and comes back by the same way."""
    outline = piece.outer
    for hole in piece.holes:
        distance = ((outline[:, None] - hole[None]) ** 2).sum(-1)
        at, start = np.unravel_index(distance.argmin(), distance.shape)
        loop = np.concatenate([hole[start:], hole[: start + 1]])
        outline = np.concatenate([outline[: at + 1], loop, outline[at:]])
    return outline
