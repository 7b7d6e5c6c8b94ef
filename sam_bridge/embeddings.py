"""What an image encoder gives and a mask decoder reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Of B pictures; B may be 0."""

    image: Tensor
    """(B, E, g, g): what prompts are compared with."""
    fine: tuple[Tensor, ...] = ()
    """Features of higher resolution or earlier layers that the decoder adds, (B, C, h, w) each; SAM 1 has none."""

    def __len__(self) -> int:
        return len(self.image)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, `image` first."""
        return (self.image, *self.fine)

    def map(self, change: Callable[[Tensor], Tensor]) -> Embeddings:
        """With every tensor changed."""
        return Embeddings(change(self.image), tuple(map(change, self.fine)))

    def index_select(self, picture_of: Tensor) -> Embeddings:
        """The embedding of each of N masks' picture; picture_of is (N,) int64."""
        return self.map(lambda tensor: tensor.index_select(0, picture_of))

    @staticmethod
    def cat(parts: Iterable[Embeddings]) -> Embeddings:
        """Of all pictures of the parts, in order."""
        image, *fine = (torch.cat(tensors) for tensors in zip(*(part.tensors for part in parts), strict=True))
        return Embeddings(image, tuple(fine))
