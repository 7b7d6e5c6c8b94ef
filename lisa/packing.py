"""Rows for the language model: conversations of one image share its prefix, or stand on their own.

A packed row is `[prefix][conversation 1][conversation 2]...`: the prefix (system text, picture) is what all
conversations of the image begin with. Positions restart after it, and a conversation sees the prefix and
itself only, so that every token gets the state it would have in a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lisa.tokenization import IGNORE_INDEX, EncodedConversation

PADDING = -1
"""Segment of padding; 0 is the prefix, 1, 2, ... are the conversations of the row."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """R rows of L tokens, padded at the right."""

    input_ids: Tensor
    """(R, L) int64."""
    labels: Tensor
    """(R, L) int64, -100 where nothing is learned."""
    image_index: Tensor
    """(R, L) int64: image token of the row's image, -1 for text."""
    positions: Tensor
    """(R, L) int64, or (R, L, axes)."""
    segments: Tensor
    """(R, L) int64: 0 prefix, k conversation k of the row, -1 padding."""
    image_of_row: Tensor
    """(R,) int64."""
    full: Tensor | None = None
    """(R, L) bool: tokens that see all such tokens of their segment, also later ones; None where there are none."""

    def attention_bias(self, dtype: torch.dtype) -> Tensor:
        """(R, 1, L, L): 0 where a token may look, the lowest number where it may not.

        Additive and float, because boolean masks are silently wrong in some attention implementations.
        """
        length = self.segments.shape[1]
        key, query = self.segments[:, None, :], self.segments[:, :, None]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        # Padding attends to itself, since a row that may look nowhere gives NaN.
        allowed = causal & ((key == 0) | (key == query)) & ((key != PADDING) | (query == PADDING))
        if self.full is not None:
            allowed |= self.full[:, None, :] & self.full[:, :, None] & (key == query)
        bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return bias.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]

    def image_tokens_of(self, num_images: int) -> Tensor:
        """(B,) int64: how many image tokens each image has, 0 for one that no row is about."""
        in_row = self.image_index.amax(1) + 1
        return torch.zeros(num_images, dtype=torch.int64, device=in_row.device).scatter_reduce_(
            0, self.image_of_row, in_row, "amax"
        )


def common_prefix_length(conversations: Sequence[EncodedConversation]) -> int:
    """Tokens that all conversations begin with, and whose successors are not yet learned.

    It ends one token before the first learned one, so that the state which predicts a learned token always
    belongs to one conversation only. Where the picture sees the question, nothing is common.
    """
    if any(conversation.full for conversation in conversations):
        return 0
    shortest = min(len(conversation) for conversation in conversations)
    first = conversations[0]
    length = shortest
    for other in conversations:
        same = (first.input_ids[:shortest] == other.input_ids[:shortest]) & (
            first.image_index[:shortest] == other.image_index[:shortest]
        )
        length = min(length, int(same.long().cumprod(0).sum()))
        learned = (other.labels != IGNORE_INDEX).nonzero()
        if len(learned):
            length = min(length, int(learned[0]) - 1)
    # A conversation must keep a token of its own.
    return max(0, min(length, shortest - 1))


def pack_rows(images: Sequence[Sequence[EncodedConversation]], packing: bool, pad_id: int) -> Rows:
    """Rows of a batch: one per image when packing, else one per conversation; reading order is kept."""
    rows: list[dict[str, Tensor]] = []
    image_of_row: list[int] = []
    for image, conversations in enumerate(images):
        groups = [conversations] if packing else [[conversation] for conversation in conversations]
        for group in groups:
            if group:
                rows.append(_row(group))
                image_of_row.append(image)
    fill = {"input_ids": pad_id, "labels": IGNORE_INDEX, "image_index": -1, "positions": 0, "segments": PADDING}
    padded = {
        name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=value)
        if rows
        else torch.zeros(0, 1, dtype=torch.int64)
        for name, value in fill.items()
    }
    full = pad_sequence([row["full"] for row in rows], batch_first=True) if rows else padded["segments"] == 0
    return Rows(**padded, image_of_row=torch.tensor(image_of_row, dtype=torch.int64), full=full if full.any() else None)


def _row(group: Sequence[EncodedConversation]) -> dict[str, Tensor]:
    prefix = common_prefix_length(group) if len(group) > 1 else 0
    parts = [(group[0], 0, prefix, 0)] if prefix else []
    parts += [(conversation, prefix, len(conversation), k) for k, conversation in enumerate(group, start=1)]
    return {
        "input_ids": torch.cat([c.input_ids[start:end] for c, start, end, _ in parts]),
        "labels": torch.cat([c.labels[start:end] for c, start, end, _ in parts]),
        "image_index": torch.cat([c.image_index[start:end] for c, start, end, _ in parts]),
        "positions": torch.cat([_positions(c)[start:end] for c, start, end, _ in parts]),
        "segments": torch.cat([torch.full((end - start,), k) for _, start, end, k in parts]),
        "full": torch.cat([torch.arange(start, end) < c.full for c, start, end, _ in parts]),
    }


def _positions(conversation: EncodedConversation) -> Tensor:
    return torch.arange(len(conversation)) if conversation.positions is None else conversation.positions
