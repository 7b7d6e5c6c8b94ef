"""Samples to look at: a few of each split, drawn at random, kept until they are painted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.images import Picture

Regions = tuple[np.ndarray, np.ndarray]
"""Target and ignore region of a picture, both (H, W) bool."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A sample that can be painted: its picture, what is asked and answered, and the masks."""

    path: Path
    question: str
    answer: str
    regions: Callable[[Picture], Regions]


@dataclass(kw_only=True)
class Shelf:
    """Keeps `per_row` exhibits of each row, every one that is offered with the same probability."""

    per_row: int
    seed: int
    kept: dict[str, list[Exhibit]] = field(default_factory=dict)
    _offered: dict[str, int] = field(default_factory=dict)
    _random: dict[str, random.Random] = field(default_factory=dict)

    def offer(self, row: str, make: Callable[[random.Random], Exhibit]) -> None:
        """Keep what `make` returns, or never call it; the row's own generator is its argument."""
        # Each row draws from its own generator, so that other rows do not change its choice.
        rng = self._random.setdefault(row, random.Random(f"{self.seed}|{row}"))
        kept = self.kept.setdefault(row, [])
        count = self._offered[row] = self._offered.get(row, 0) + 1
        if len(kept) < self.per_row:
            kept.append(make(rng))
        elif (place := rng.randrange(count)) < self.per_row:
            kept[place] = make(rng)


def nothing(picture: Picture) -> Regions:
    """No target, nothing ignored."""
    target, ignore = np.zeros((2, *picture.size), dtype=bool)
    return target, ignore
