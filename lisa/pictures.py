"""Pictures in a text: the tokens that stand for one, and which part of it each image token shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]
"""What a family must know of a picture besides its pixels: () or rows and columns of tiles, of patches, ..."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of a picture's width and height."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """What a family of models wants of a whole conversation."""

    bos_first: bool = True
    """Begin with the tokenizer's beginning-of-sentence token, if it has one."""
    first_position: int = 0
    axes: int = 1
    """Numbers in a token's position."""
    full_prefix: bool = False
    """What stands before the first answer is read with full attention: each of its tokens sees all of them."""


PLAIN_RULES = TextRules()


@dataclass(frozen=True, kw_only=True)
class View:
    """Image tokens on a grid over a part of the picture."""

    tokens: Tensor
    """(h, w) int64: which image token shows each cell."""
    box: Box = WHOLE


@dataclass(frozen=True, kw_only=True)
class PictureText:
    """One picture in a text: T tokens, P of them image tokens; what surrounds those are words of the family's own."""

    ids: Tensor
    """(T,) int64; arbitrary at image tokens."""
    image_index: Tensor
    """(T,) int64: 0 to P - 1 in reading order, -1 for words."""
    views: tuple[View, ...]
    positions: Tensor | None = None
    """(T, axes) int64, counted from the picture's beginning; None counts tokens."""

    @classmethod
    def of(
        cls, ids: Sequence[int], image_token: int, filler: int, views: Sequence[View], positions: Tensor | None = None
    ) -> PictureText:
        """Ids in which `image_token` stands for every image token; `filler` takes its place."""
        tokens = torch.tensor(list(ids), dtype=torch.int64)
        at = tokens == image_token
        return cls(
            ids=tokens.masked_fill(at, filler),
            image_index=torch.where(at, at.cumsum(0) - 1, -1),
            views=tuple(views),
            positions=positions,
        )

    @property
    def num_tokens(self) -> int:
        """P."""
        return int(self.image_index.max()) + 1

    @property
    def span(self) -> int:
        """How far positions have gone on where the picture ends."""
        return len(self.ids) if self.positions is None else int(self.positions.max()) + 1


def grid_view(first: int, rows: int, columns: int, box: Box = WHOLE) -> View:
    """Image tokens from `first` on, row by row."""
    return View(tokens=first + torch.arange(rows * columns).view(rows, columns), box=box)


def tile_views(rows: int, columns: int, side: int, first: int = 0) -> list[View]:
    """Tiles of side x side image tokens each, row by row, that together show the whole picture."""
    return [
        grid_view(
            first + (row * columns + column) * side**2,
            side,
            side,
            (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def coverage(masks: np.ndarray, picture: PictureText) -> Tensor:
    """Masks (N, H, W) bool -> (N, P): the share of each image token's part of the picture that is covered; N may be 0.

    Tokens that show no part, as those that end a line, have 0.
    """
    shares = torch.zeros(len(masks), picture.num_tokens)
    covered = torch.from_numpy(masks).float()
    for view in picture.views:
        left, top, right, bottom = view.box
        (height, width), (rows, columns) = masks.shape[1:], view.tokens.shape
        means = _overlaps(height, top, bottom, rows) @ covered @ _overlaps(width, left, right, columns).T
        shares[:, view.tokens.flatten()] = means.flatten(1).clamp_max(1)
    return shares


def _overlaps(size: int, start: float, end: float, cells: int) -> Tensor:
    """(cells, size): how much of each cell between two shares of a length is within each of its pixels."""
    edges = torch.linspace(start * size, end * size, cells + 1, dtype=torch.float64)
    pixels = torch.arange(size)
    within = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (within.clamp_min(0) * cells / ((end - start) * size)).float()
