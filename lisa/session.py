"""A talk about one picture, question by question: what was read once is not read again.

The picture is encoded once, by the vision tower at the first question and by SAM at the first [SEG]; the language
model's cache holds the conversation so far, and a new question adds only its own tokens to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from lisa.conversation import IMAGE_PLACEHOLDER, Conversation, Turn
from lisa.decoding import Decoding, Said, decode, prefill
from lisa.generation import masks_at_original_size, scores_of
from lisa.packing import pack_rows
from lisa.questions import LONGEST_ANSWER, checked_question
from lisa.results import Answer, Scores, no_masks
from lisa.tokenization import EncodedConversation

if TYPE_CHECKING:
    from lisa.generation import Predictor


@dataclass
class Work:
    """What a session has computed so far."""

    tower_images: int = 0
    """Pictures that passed the vision tower."""
    sam_images: int = 0
    """Pictures that passed SAM's image encoder, or whose embedding was read from the disk."""
    read_tokens: int = 0
    """Tokens of prompts that passed the language model, image tokens included."""
    said_tokens: int = 0
    """Tokens of answers."""


class ChatSession:
    """Questions about one picture (H, W, 3) uint8 RGB, each asked with all that was said before.

    Answers are those of `Predictor.generate` for the whole conversation; `work` tells what they have cost.
    """

    def __init__(self, predictor: Predictor, image: np.ndarray, image_name: str = "") -> None:
        self.predictor = predictor
        self.image, self.image_name = image, image_name
        self.turns: tuple[Turn, ...] = ()
        self.work = Work()
        self._picture = predictor.processor([image], [[]]).to(predictor.model.device)
        self._image_tokens: Tensor | None = None
        self._sam_embedding: Tensor | None = None
        self._forget()

    def reset(self) -> None:
        """Forget what was said; what was read of the picture stays."""
        self.turns = ()

    @torch.inference_mode()
    def ask(
        self, question: str, max_new_tokens: int = LONGEST_ANSWER, on_token: Callable[[int], None] | None = None
    ) -> Answer:
        """The answer to the next question, which is remembered with it; on_token(id) is called for every new token."""
        question = checked_question(question)
        asked = question if self.turns else f"{IMAGE_PLACEHOLDER}\n{question}"
        turns = (*self.turns, Turn("user", asked))
        text = self.predictor.processor.text
        encoded = text.encode(Conversation(turns))
        stream = None if on_token is None else lambda _, token: on_token(token)
        eos = self.predictor.processor.tokenizer.eos_token_id
        try:
            (said,) = decode(self.predictor.model, self._read(encoded), eos, max_new_tokens, stream)
            self._remember(encoded, said)
            masks, scores = self._masks(said)
        except BaseException:
            # Broken off in the middle, the cache may hold a token in one layer and not in the next.
            self._forget()
            raise
        answer = Answer(
            text=text.decode(said.ids),
            masks=masks,
            scores=scores,
            question=question,
            image=self.image,
            image_name=self.image_name,
        )
        self.turns = (*turns, Turn("assistant", answer.text))
        return answer

    def _read(self, encoded: EncodedConversation) -> Decoding:
        """Prefill what the cache does not hold; what it holds beyond the common beginning is dropped.

        An answer's ids need not be those of its text, so the beginning is found by comparing.
        """
        wanted = _identity(encoded.input_ids, encoded.image_index)
        shorter = min(len(self._held), len(wanted))
        same = (self._held[:shorter] == wanted[:shorter]).all(1).long().cumprod(0).sum()
        kept = min(int(same), len(wanted) - 1)  # the state of the last token is needed
        self._cache.crop(kept - len(self._held))
        self._held = self._held[:kept]
        self.work.read_tokens += len(wanted) - kept
        rows = pack_rows([[encoded]], packing=False, pad_id=0)  # one row is not padded
        rows = replace(self._picture, rows=rows).to(self.predictor.model.device).rows
        return prefill(self.predictor.model, rows, self._tokens(), self._cache)

    def _remember(self, encoded: EncodedConversation, said: Said) -> None:
        """What stands in the cache now."""
        ids = torch.cat([encoded.input_ids, torch.tensor(said.ids, dtype=torch.int64)])
        places = torch.cat([encoded.image_index, torch.full((len(said.ids),), -1)])
        self._held = _identity(ids, places)
        self.work.said_tokens += len(said.ids)

    def _forget(self) -> None:
        self._cache = DynamicCache()
        self._held = torch.zeros(0, 2, dtype=torch.int64)

    def _tokens(self) -> Tensor:
        """(1, P, D) image tokens."""
        if self._image_tokens is None:
            self._image_tokens = self.predictor.model.backbone.image_tokens(self._picture.pixel_values)
            self.work.tower_images += 1
        return self._image_tokens

    def _embedding(self) -> Tensor:
        """(1, E, g, g) image embedding."""
        if self._sam_embedding is None:
            self._sam_embedding = self.predictor.model.sam_embeddings(self._picture.sam_pixels)
            self.work.sam_images += 1
        return self._sam_embedding

    def _masks(self, said: Said) -> tuple[np.ndarray, Scores]:
        """Masks (N, H, W) bool and their scores, of an answer; N may be 0."""
        (size,) = self._picture.sizes
        if not said.seg_states:
            return no_masks(size.original)
        model, states = self.predictor.model, torch.stack(said.seg_states)
        row_of = torch.zeros(len(states), dtype=torch.int64, device=states.device)
        output = model.masks_from_embeddings(states, row_of, self._embedding())
        masks, expected_iou = masks_at_original_size(output, [size] * len(states), model.config.sam["image_size"])
        return np.stack(masks), scores_of(expected_iou, said.seg_probabilities)


def _identity(ids: Tensor, image_index: Tensor) -> Tensor:
    """(T, 2): two tokens are the same where both their id and their place in the picture are."""
    return torch.stack([ids, image_index], dim=1)
