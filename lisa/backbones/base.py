"""What LISA asks of a vision-language model."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from transformers import Cache

from lisa.attention import Layout


class Backbone(Protocol):
    """B images, P image tokens each, D language width, R rows of L tokens, V vocabulary."""

    width: int
    """D."""

    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        """Vision tower and projector: (B, 3, s, s) -> (B, P, D)."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings: ids of any shape -> (..., D)."""
        ...

    def run(self, embeds: Tensor, bias: Tensor, positions: Tensor, cache: Cache | None = None) -> Tensor:
        """Language model: (R, L, D) -> the last hidden state (R, L, D) after the final norm.

        bias (R, 1, L, K) is added to the attention scores, K being L plus the length of the cache, which
        grows by L. positions is (R, L).
        """
        ...

    def run_line(self, embeds: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """Language model over the N tokens of all rows in one line: (1, N, D) -> last hidden states (1, N, D).

        positions is (1, N); what may look at what is said by the layout.
        """
        ...

    def final_norm(self, states: Tensor) -> Tensor:
        """The norm that ends the language model, on its own: (..., D) -> (..., D)."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Vocabulary scores: (..., D) -> (..., V)."""
        ...

    def parts(self) -> dict[str, nn.Module]:
        """The modules that can be trained or frozen: vision_tower, projector, language_model, embeddings."""
        ...
