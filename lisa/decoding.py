"""Token by token: rows that have been read, and what is said after them, with a KV cache.

Each step adds one token to every conversation: its query sees the shared prefix, its own conversation, and what that
has said so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from lisa.modeling import LisaModel
from lisa.packing import PADDING, Rows
from lisa.profiling import timed


@dataclass
class Decoding:
    """Rows that grow: slot q of row r is conversation q + 1 of that row."""

    segments: Tensor
    """(R, K) int64: the segment of every key in the cache."""
    slots: Tensor
    """(R, Q) int64: the segment of each slot, PADDING where the row has fewer conversations or one is done."""
    positions: Tensor
    """(R, Q) int64, or (R, Q, axes): position of the next token."""
    state: Tensor
    """(R, Q, D): last hidden state of each slot; it predicts the next token."""
    cache: DynamicCache = field(default_factory=DynamicCache)


@dataclass
class Said:
    """What one conversation has produced."""

    ids: list[int] = field(default_factory=list)
    seg_states: list[Tensor] = field(default_factory=list)
    seg_probabilities: list[Tensor] = field(default_factory=list)
    """A scalar for each [SEG]: how probable it was where it was said."""


@timed("prefill")
def prefill(model: LisaModel, rows: Rows, image_tokens: Tensor, cache: DynamicCache | None = None) -> Decoding:
    """Read pictures (B, P, D) and questions; only the state of each conversation's last token is kept.

    A cache holds the first tokens of every row already: they are not read again. It must leave the last token of every
    conversation to be read.
    """
    cache = DynamicCache() if cache is None else cache
    known = cache.get_seq_length()
    embeds = model.embed_rows(rows, image_tokens)[:, known:]
    bias = rows.attention_bias(embeds.dtype)[:, :, known:]
    hidden = model.backbone.run(embeds, bias, rows.positions[:, known:], cache)
    slots = _slots(rows)
    # Padding slots have no last token; they read some token and are never looked at.
    steps = torch.arange(rows.segments.shape[1], device=slots.device)
    own = rows.segments[:, None, :] == slots[:, :, None]
    last = (own * steps).amax(-1).clamp_min(known)
    return Decoding(
        segments=rows.segments,
        slots=slots,
        positions=rows.positions[torch.arange(len(last), device=last.device)[:, None], last] + 1,
        state=hidden.gather(1, (last - known)[..., None].expand(-1, -1, hidden.shape[-1])),
        cache=cache,
    )


@timed("tokens")
def decode(
    model: LisaModel,
    decoding: Decoding,
    eos: int,
    max_new_tokens: int,
    on_token: Callable[[int, int], None] | None = None,
    on_seg: Callable[[int, Said], None] | None = None,
) -> list[Said]:
    """Greedy answers, one for each conversation in reading order, each up to its end-of-sentence token.

    on_token(conversation, id) is called for every new token, and on_seg(conversation, said so far) for every [SEG], as
    soon as its state is there. What was said stands in the cache afterwards.
    """
    config = model.config
    places = [tuple(slot) for slot in (decoding.slots != PADDING).nonzero().tolist()]
    said = [Said() for _ in places]
    going = list(range(len(said)))
    for _ in range(max_new_tokens):
        logits = model.backbone.logits(decoding.state)
        tokens = logits.argmax(-1)
        chosen = tokens.tolist()  # the one wait for the device in a step
        ended = [k for k in going if chosen[places[k][0]][places[k][1]] == eos]
        for k in ended:
            decoding.slots[places[k]] = PADDING
        going = [k for k in going if k not in ended]
        if not going:
            break
        pointing = []
        for k in going:
            row, slot = places[k]
            said[k].ids.append(chosen[row][slot])
            if on_token is not None:
                on_token(k, chosen[row][slot])
            if chosen[row][slot] == config.seg_token_id:
                pointing.append(k)
                said[k].seg_probabilities.append(logits[row, slot].float().softmax(-1)[config.seg_token_id])
        if config.seg_state == "before":
            _catch_states(decoding, said, places, pointing, on_seg)
        step(model, decoding, tokens)
        if config.seg_state == "at":
            _catch_states(decoding, said, places, pointing, on_seg)
    return said


def step(model: LisaModel, decoding: Decoding, tokens: Tensor) -> None:
    """Feed one token to every slot; tokens is (R, Q)."""
    backbone = model.backbone
    decoding.segments = torch.cat([decoding.segments, decoding.slots], dim=1)
    embeds = backbone.embed(tokens)
    key, query = decoding.segments[:, None, :], decoding.slots[:, :, None]
    allowed = (key == 0) | (key == query)
    bias = torch.zeros(allowed.shape, dtype=embeds.dtype, device=embeds.device)
    bias = bias.masked_fill_(~allowed, torch.finfo(embeds.dtype).min)[:, None]
    decoding.state = backbone.run(embeds, bias, decoding.positions, decoding.cache)
    decoding.positions = decoding.positions + 1


def _catch_states(
    decoding: Decoding,
    said: list[Said],
    places: list[tuple[int, ...]],
    pointing: list[int],
    on_seg: Callable[[int, Said], None] | None,
) -> None:
    for k in pointing:
        said[k].seg_states.append(decoding.state[places[k]])
        if on_seg is not None:
            on_seg(k, said[k])


def _slots(rows: Rows) -> Tensor:
    """(R, Q): segments 1..q of each row, PADDING beyond."""
    conversations = rows.segments.amax(1)
    numbers = torch.arange(1, int(conversations.max()) + 1, device=conversations.device)
    return torch.where(numbers <= conversations[:, None], numbers, PADDING)
