"""Attention over packed rows, in blocks: a prefix is read once, and little is computed that a token may not see.

Of a packed row `[prefix][conversation 1][conversation 2]...` a full matrix of scores holds many pairs that may not look
at each other. Here the tokens of a batch stand in one line, without padding, and attention is computed of each prefix
with itself, and of the conversations with their row. The result is that of a full matrix with `Rows.attention_bias`, up
to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lisa.packing import PADDING, Rows

PACKED = "packed_"
"""What the name of an attention begins with that knows layouts; what follows is used without one."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A row whose m own tokens, of all its conversations, follow a prefix of p tokens."""

    prefix: int
    """p."""
    allowed: Tensor
    """(m, p + m) bool: what each own token may look at."""


@dataclass(frozen=True, kw_only=True)
class Alone:
    """n conversations of up to t tokens that share nothing; m tokens in all."""

    own: Tensor
    """(n, t) int64: places of their tokens among the m; a conversation's first one where it has no more."""
    kept: Tensor
    """(m,) int64: which of the n * t are tokens."""
    allowed: Tensor | None = None
    """(n, 1, t, t) bool: what each token may look at; None is all that comes before it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The N tokens of a batch of R rows of L in one line: rows that share a prefix, then those that share nothing."""

    places: Tensor
    """(N,) int64: where each token of the line is among the R * L."""
    shared: tuple[Shared, ...]
    alone: Alone | None

    @classmethod
    def of(cls, rows: Rows, pictures: bool = True) -> Layout:
        """The layout of packed or unpacked rows; without `pictures` only words are read."""
        segments = rows.segments.cpu()
        full = torch.zeros_like(segments, dtype=torch.bool) if rows.full is None else rows.full.cpu()
        read = segments != PADDING
        if not pictures:
            read &= rows.image_index.cpu() < 0
        shared, alone, places, places_alone, full_alone = [], [], [], [], []
        for row, in_row in enumerate(read):
            own = segments[row, in_row]
            here = row * segments.shape[1] + in_row.nonzero()[:, 0]
            prefix, *lengths = torch.bincount(own).tolist()
            if prefix:
                shared.append(Shared(prefix=prefix, allowed=_allowed(own)[prefix:].to(rows.segments.device)))
                places.append(here)
            else:
                alone += lengths
                places_alone.append(here)
                full_alone.append(full[row, in_row])
        line = torch.cat([torch.arange(0), *places, *places_alone])
        side_by_side = _side_by_side(alone, torch.cat(full_alone), rows.segments.device) if alone else None
        return cls(places=line.to(rows.segments.device), shared=tuple(shared), alone=side_by_side)


def _allowed(segments: Tensor) -> Tensor:
    """Segments (l,) of a row without padding -> (l, l) bool: which key each query may look at."""
    key, query = segments[None, :], segments[:, None]
    return ((key == 0) | (key == query)).tril()


def _side_by_side(lengths: list[int], full: Tensor, device: torch.device) -> Alone:
    """Conversations of so many tokens each; full (m,) bool tells which are read with full attention."""
    steps = torch.arange(max(lengths))
    length = torch.tensor(lengths)[:, None]
    first = length.cumsum(0) - length
    is_token = steps < length
    own = first + steps * is_token
    allowed = None
    if full.any():
        full = full[own] & is_token
        causal = torch.ones(len(steps), len(steps), dtype=torch.bool).tril()
        allowed = (causal | (full[:, None, :] & full[:, :, None]))[:, None].to(device)
    return Alone(own=own.to(device), kept=is_token.flatten().nonzero()[:, 0].to(device), allowed=allowed)


Read = Callable[[Tensor, Tensor, Tensor, "Tensor | None", float], Tensor]
"""query (B, H, q, d), key and value (B, H, k, d), allowed (..., q, k) bool or None for "not what comes later",
scaling -> (B, H, q, d)."""


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float, read: Read) -> Tensor:
    """(H, N, d) each -> (N, H, d)."""
    sizes = [row.allowed.shape[1] for row in layout.shared]
    sizes.append(query.shape[1] - sum(sizes))
    # One split instead of many slices: its gradient is written once, not once for each slice.
    *rows, rest = zip(*(x[None].split(sizes, dim=2) for x in (query, key, value)), strict=True)
    parts = []
    for row, (q, k, v) in zip(layout.shared, rows, strict=True):
        p = row.prefix
        q_prefix, q_own = q.split([p, q.shape[2] - p], dim=2)
        parts += [read(q_prefix, k[:, :, :p], v[:, :, :p], None, scaling), read(q_own, k, v, row.allowed, scaling)]
    given = [part[0].transpose(0, 1) for part in parts]
    if layout.alone is not None:
        given.append(_attend_alone(*(x[0] for x in rest), layout.alone, scaling, read))
    return torch.cat(given) if len(given) > 1 else given[0]


def _attend_alone(query: Tensor, key: Tensor, value: Tensor, alone: Alone, scaling: float, read: Read) -> Tensor:
    """(H, m, d) each -> (m, H, d). Padding comes last, where nothing before it looks."""
    n, t = alone.own.shape
    padded = len(alone.kept) < n * t
    own = alone.own.flatten()
    by_conversation = (
        (x.index_select(1, own) if padded else x).unflatten(1, (n, t)).transpose(0, 1) for x in (query, key, value)
    )
    given = read(*by_conversation, alone.allowed, scaling).transpose(1, 2).flatten(0, 1)
    return given.index_select(0, alone.kept) if padded else given


def read_fused(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float) -> Tensor:
    """By torch's fused attention, which never writes the scores down."""
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, is_causal=allowed is None, scale=scaling
    )


def read_fastest(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float) -> Tensor:
    """Fused, but for bf16 on a CPU, where torch's fused attention multiplies at fp32's speed."""
    read = read_plainly if query.device.type == "cpu" and query.dtype == torch.bfloat16 else read_fused
    return read(query, key, value, allowed, scaling)


def read_plainly(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float) -> Tensor:
    """Product, softmax, product, with the scores written down."""
    scores = (query * scaling) @ key.transpose(2, 3)
    if allowed is None:
        allowed = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    return _softmax(scores.masked_fill(~allowed, float("-inf")), value.dtype) @ value


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
    read = read_plainly if name == "eager" else read_fastest

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
        return attend(query[0], key, value, layout, options["scaling"], read)[None], None

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
