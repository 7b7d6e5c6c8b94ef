"""Attention over packed rows, in blocks: a prefix is read once, and nothing that a token may not see is computed.

Of a packed row `[prefix][conversation 1][conversation 2]...` a full matrix of scores holds mostly pairs that may not
look at each other. Here the tokens of a batch stand in one line, without padding, and the scores are those of the
prefix with itself, of every conversation with the prefix, and of every conversation with itself. The result is that of
a full matrix with `Rows.attention_bias`, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lisa.packing import PADDING, Rows

PACKED = "packed_"
"""What the name of an attention begins with that knows layouts; what follows is used without one."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """n conversations of up to t tokens that share a prefix of p tokens; p may be 0."""

    prefix: Tensor
    """(p,) int64: places of the prefix in the line of all tokens."""
    own: Tensor
    """(n, t) int64: places of the conversations' tokens; a conversation's first one where it has no more."""
    kept: Tensor
    """(m,) int64: which of the n * t are tokens."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The N tokens of a batch of R rows of L in one line, row by row, and what may look at what."""

    places: Tensor
    """(N,) int64: where each token of the line is among the R * L."""
    blocks: tuple[Block, ...]
    order: Tensor
    """(N,) int64: where each token of the line is in what the blocks give, one after the other, prefix first."""

    @classmethod
    def of(cls, rows: Rows, pictures: bool = True) -> Layout:
        """The layout of packed or unpacked rows; conversations without a prefix become one block.

        Without `pictures` their tokens are left out, and only words are read.
        """
        segments = rows.segments
        real = segments != PADDING
        if not pictures:
            real &= rows.image_index < 0
        places = real.flatten().nonzero()[:, 0]
        counts = real.sum(1).tolist()
        blocks, alone, start = [], [], 0
        for row, read, count in zip(segments.cpu(), real.cpu(), counts, strict=True):
            lengths = torch.bincount(row[read]).tolist()  # of the prefix, and of each conversation
            prefix, conversations = torch.arange(start, start + lengths[0]), []
            begin = start + lengths[0]
            for length in lengths[1:]:
                conversations.append(torch.arange(begin, begin + length))
                begin += length
            if len(prefix):
                blocks.append(_block(prefix, conversations))
            else:
                alone += conversations
            start += count
        if alone:
            blocks.append(_block(torch.arange(0), alone))
        given = torch.cat([torch.cat([b.prefix, b.own.flatten()[b.kept]]) for b in blocks]) if blocks else places[:0]
        moved = [
            Block(**{name: getattr(b, name).to(segments.device) for name in ("prefix", "own", "kept")}) for b in blocks
        ]
        return cls(places=places, blocks=tuple(moved), order=given.argsort().to(segments.device))


def _block(prefix: Tensor, conversations: list[Tensor]) -> Block:
    longest = max(len(places) for places in conversations)
    own = torch.stack([torch.cat([c, c[:1].expand(longest - len(c))]) for c in conversations])
    lengths = torch.tensor([len(c) for c in conversations])
    kept = (torch.arange(longest) < lengths[:, None]).flatten().nonzero()[:, 0]
    return Block(prefix=prefix, own=own, kept=kept)


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float) -> Tensor:
    """(H, N, d) each -> (H, N, d)."""
    query = query * scaling
    parts = [part for block in layout.blocks for part in _attend_block(query, key, value, block)]
    return torch.cat(parts, dim=1).index_select(1, layout.order)


def _attend_block(query: Tensor, key: Tensor, value: Tensor, block: Block) -> list[Tensor]:
    """What the prefix and the conversations of a block read: (H, p, d), (H, m, d)."""
    heads, _, width = query.shape
    n, t = block.own.shape
    p = len(block.prefix)
    own = block.own.flatten()
    own_query, own_key, own_value = (x.index_select(1, own) for x in (query, key, value))
    by_conversation = own_query.view(heads, n, t, width) @ own_key.view(heads, n, t, width).transpose(2, 3)
    scores = by_conversation.masked_fill(_later(t, query.device), float("-inf"))
    if p == 0:
        weights = _softmax(scores, value.dtype)
        read = weights @ own_value.view(heads, n, t, width)
        return [read.flatten(1, 2).index_select(1, block.kept)]
    prefix_query, prefix_key, prefix_value = (x.index_select(1, block.prefix) for x in (query, key, value))
    of_prefix = (prefix_query @ prefix_key.transpose(1, 2)).masked_fill(_later(p, query.device), float("-inf"))
    with_prefix = (own_query @ prefix_key.transpose(1, 2)).view(heads, n, t, p)
    weights = _softmax(torch.cat([with_prefix, scores], dim=3), value.dtype)
    read = weights[..., :p].reshape(heads, n * t, p) @ prefix_value
    read = read + (weights[..., p:] @ own_value.view(heads, n, t, width)).flatten(1, 2)
    return [_softmax(of_prefix, value.dtype) @ prefix_value, read.index_select(1, block.kept)]


def _later(length: int, device: torch.device) -> Tensor:
    """(length, length) bool: true where a key comes after its query."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def _softmax(scores: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(dtype)


def knows_layouts(name: str) -> str:
    """The name of the attention `name` of transformers, made to know layouts."""
    if name.startswith(PACKED):
        return name
    if PACKED + name not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        AttentionInterface.register(PACKED + name, _with_layout(name))
    return PACKED + name


def _with_layout(name: str) -> Callable:
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        layout: Layout | None = None,
        **options,
    ) -> tuple[Tensor, None]:
        """query (1, H, N, d), key and value (1, H or fewer, N, d) -> (1, N, H, d)."""
        if layout is None:
            plain = ALL_ATTENTION_FUNCTIONS.get_interface(name, _eager)
            return plain(module, query, key, value, attention_mask, **options)
        groups = query.shape[1] // key.shape[1]
        key, value = (x[0].repeat_interleave(groups, 0) if groups > 1 else x[0] for x in (key, value))
        return attend(query[0], key, value, layout, options["scaling"]).transpose(0, 1)[None], None

    return attention


def _eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_,
) -> tuple[Tensor, Tensor]:
    """The attention that transformers' models bring themselves, and so do not list."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    weights = _softmax(scores if attention_mask is None else scores + attention_mask, query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights
