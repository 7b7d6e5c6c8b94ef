"""Answers: decoding with a KV cache over packed rows, and the masks of every [SEG] that is said.

The picture and the common beginning of its conversations are read once. Each step adds one token to every
conversation: its query sees the shared prefix, its own conversation, and what that has said so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from lisa.conversation import SEG, Conversation
from lisa.modeling import Lisa
from lisa.packing import PADDING, Rows
from lisa.processing import Batch, LisaProcessor
from lisa.results import Answer
from lisa.seg import gather_seg_states, image_of_seg, seg_positions
from sam_bridge import to_original_size


@dataclass
class _Decoding:
    """Rows that grow: slot q of row r is conversation q + 1 of that row."""

    segments: Tensor
    """(R, K) int64: the segment of every key in the cache."""
    slots: Tensor
    """(R, Q) int64: the segment of each slot, PADDING where the row has fewer conversations or one is done."""
    positions: Tensor
    """(R, Q) int64: position of the next token."""
    state: Tensor
    """(R, Q, D): last hidden state of each slot; it predicts the next token."""
    cache: DynamicCache = field(default_factory=DynamicCache)


@dataclass
class _Said:
    """What one conversation has produced."""

    ids: list[int] = field(default_factory=list)
    seg_states: list[Tensor] = field(default_factory=list)


class Predictor:
    """A model with its processor, for use: questions in, answers with masks out."""

    def __init__(self, model: Lisa, processor: LisaProcessor, name: str = "lisa") -> None:
        self.model = model.eval()
        self.processor = processor
        self.name = name

    @torch.inference_mode()
    def generate(
        self,
        images: Sequence[np.ndarray],
        conversations: Sequence[Sequence[Conversation]],
        max_new_tokens: int = 64,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[list[Answer]]:
        """Greedy answers to conversations that end with the user's turn: per image, per conversation.

        images: (H, W, 3) uint8 RGB each. on_token(conversation, id) is called for every new token, with the
        conversation's index in reading order.
        """
        batch = self.processor(images, conversations).to(self.model.device)
        said = self._decode(batch, max_new_tokens, on_token)
        states = [state for one in said for state in one.seg_states]
        image_of_conversation = torch.repeat_interleave(batch.offset.diff())
        image_of = torch.repeat_interleave(
            image_of_conversation, torch.tensor([len(one.seg_states) for one in said], device=batch.offset.device)
        )
        masks, scores = self._masks(torch.stack(states) if states else None, image_of, batch)
        texts = [self.processor.text.decode(one.ids) for one in said]
        return _answers(texts, [len(one.seg_states) for one in said], masks, scores, batch)

    @torch.inference_mode()
    def teacher_forced(
        self, images: Sequence[np.ndarray], conversations: Sequence[Sequence[Conversation]]
    ) -> list[list[Answer]]:
        """Masks for answers that are given: the last turn of each conversation is the assistant's.

        [SEG] of earlier turns are history and get no mask.
        """
        batch = self.processor(images, conversations).to(self.model.device)
        model = self.model
        hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
        positions = seg_positions(batch.rows, model.config.seg_token_id, model.config.seg_state)
        given = [conversation for group in conversations for conversation in group]
        texts = [conversation.turns[-1].text for conversation in given]
        counts = [text.count(SEG) for text in texts]
        wanted = torch.tensor(
            [
                index >= conversation.num_seg - count
                for conversation, count in zip(given, counts, strict=True)
                for index in range(conversation.num_seg)
            ],
            dtype=torch.bool,
            device=hidden.device,
        )
        states = gather_seg_states(hidden, positions)[wanted]
        masks, scores = self._masks(states, image_of_seg(batch.rows, positions)[wanted], batch)
        return _answers(texts, counts, masks, scores, batch)

    def _masks(self, states: Tensor | None, image_of: Tensor, batch: Batch) -> tuple[list[np.ndarray], list[float]]:
        """A bool mask at its picture's own size and a score for each state, in order."""
        if states is None or len(states) == 0:
            return [], []
        output = self.model.masks_from_states(states, image_of, batch.sam_pixels)
        side = self.model.config.sam["image_size"]
        masks = [
            (to_original_size(low_res[None], batch.sizes[image], side)[0] > 0).cpu().numpy()
            for low_res, image in zip(output.low_res, image_of.tolist(), strict=True)
        ]
        return masks, output.scores.float().clamp(0, 1).tolist()

    def _decode(self, batch: Batch, max_new_tokens: int, on_token: Callable[[int, int], None] | None) -> list[_Said]:
        model, config = self.model, self.model.config
        eos = self.processor.tokenizer.eos_token_id
        decoding = self._prefill(batch)
        reading_order = (decoding.slots != PADDING).nonzero()
        said = {tuple(slot): _Said() for slot in reading_order.tolist()}
        awaiting: list[tuple[int, int]] = []  # slots whose [SEG] state is the next one (seg_state "at")
        for _ in range(max_new_tokens):
            tokens = model.backbone.logits(decoding.state).argmax(-1)
            for slot, one in said.items():
                if decoding.slots[slot] == PADDING:
                    continue
                token = int(tokens[slot])
                if token == eos:
                    decoding.slots[slot] = PADDING
                    continue
                one.ids.append(token)
                if on_token is not None:
                    on_token(list(said).index(slot), token)
                if token == config.seg_token_id and config.seg_state == "before":
                    one.seg_states.append(decoding.state[slot])
                elif token == config.seg_token_id:
                    awaiting.append(slot)
            if bool((decoding.slots == PADDING).all()):
                break
            self._step(decoding, tokens)
            for slot in awaiting:
                said[slot].seg_states.append(decoding.state[slot])
            awaiting.clear()
        return list(said.values())

    def _prefill(self, batch: Batch) -> _Decoding:
        """Read pictures and questions; the state of each conversation's last token is kept."""
        model, rows = self.model, batch.rows
        embeds = model.embed_rows(rows, model.backbone.image_tokens(batch.pixel_values))
        cache = DynamicCache()
        hidden = model.backbone.run(embeds, rows.attention_bias(embeds.dtype), rows.positions, cache)
        slots = _slots(rows)
        # Padding slots have no last token; they read some token and are never looked at.
        steps = torch.arange(rows.segments.shape[1], device=slots.device)
        own = rows.segments[:, None, :] == slots[:, :, None]
        last = (own * steps).amax(-1)
        return _Decoding(
            segments=rows.segments,
            slots=slots,
            positions=rows.positions.gather(1, last) + 1,
            state=hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1])),
            cache=cache,
        )

    def _step(self, decoding: _Decoding, tokens: Tensor) -> None:
        """Feed one token to every slot."""
        backbone = self.model.backbone
        decoding.segments = torch.cat([decoding.segments, decoding.slots], dim=1)
        embeds = backbone.embed(tokens)
        key, query = decoding.segments[:, None, :], decoding.slots[:, :, None]
        allowed = (key == 0) | (key == query)
        bias = torch.zeros(allowed.shape, dtype=embeds.dtype, device=embeds.device)
        bias = bias.masked_fill_(~allowed, torch.finfo(embeds.dtype).min)[:, None]
        decoding.state = backbone.run(embeds, bias, decoding.positions, decoding.cache)
        decoding.positions = decoding.positions + 1


def _slots(rows: Rows) -> Tensor:
    """(R, Q): segments 1..q of each row, PADDING beyond."""
    conversations = rows.segments.amax(1)
    numbers = torch.arange(1, int(conversations.max()) + 1, device=conversations.device)
    return torch.where(numbers <= conversations[:, None], numbers, PADDING)


def _answers(
    texts: list[str], counts: list[int], masks: list[np.ndarray], scores: list[float], batch: Batch
) -> list[list[Answer]]:
    """Group texts and masks, both in reading order, by conversation and by image."""
    groups: list[list[Answer]] = []
    conversation = mask = 0
    for size, number in zip(batch.sizes, batch.offset.diff().tolist(), strict=True):
        group = []
        for text, count in zip(texts[conversation:][:number], counts[conversation:][:number], strict=True):
            own = masks[mask : mask + count]
            group.append(
                Answer(
                    text=text,
                    masks=np.stack(own) if own else np.zeros((0, *size.original), bool),
                    scores=np.array(scores[mask : mask + count], np.float32),
                )
            )
            mask += count
        conversation += number
        groups.append(group)
    return groups
