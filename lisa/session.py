"""A talk about one picture, question by question: what was read once is not read again.

The picture is encoded once, by the vision tower at the first question and by SAM at the first [SEG]; the language
model's cache holds the conversation so far, and a new question adds only its own tokens to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from lisa.conversation import IMAGE_PLACEHOLDER, Conversation, Turn
from lisa.decoding import Decoding, Said, decode, prefill
from lisa.packing import pack_rows
from lisa.pointing import Click, Pointed, correct, point, to_mask
from lisa.questions import LONGEST_ANSWER, checked_question
from lisa.results import Answer, Scores, no_masks
from lisa.tokenization import EncodedConversation
from sam_bridge import ImageSize

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """An answer, before its masks are pixels."""

    question: str
    text: str
    pointed: tuple[Pointed, ...]
    """One for each [SEG]."""


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
        self.rest()

    def reset(self) -> None:
        """Forget what was said; what was read of the picture stays."""
        self.turns = ()

    @torch.inference_mode()
    def ask(
        self, question: str, max_new_tokens: int = LONGEST_ANSWER, on_token: Callable[[int], None] | None = None
    ) -> Answer:
        """The answer to the next question, which is remembered with it; on_token(id) is called for every new token."""
        heard = self.listen(question, max_new_tokens, on_token)
        masks, scores = no_masks(self._size.original)
        if heard.pointed:
            masks = np.stack([self.mask(one) for one in heard.pointed])
            scores = Scores(
                expected_iou=np.array([one.expected_iou for one in heard.pointed], np.float32),
                seg_probability=np.array([one.seg_probability for one in heard.pointed], np.float32),
            )
        return Answer(
            text=heard.text,
            masks=masks,
            scores=scores,
            question=heard.question,
            image=self.image,
            image_name=self.image_name,
        )

    @torch.inference_mode()
    def listen(
        self,
        question: str,
        max_new_tokens: int = LONGEST_ANSWER,
        on_token: Callable[[int], None] | None = None,
        on_pointed: Callable[[Pointed], None] | None = None,
    ) -> Heard:
        """As `ask`, without the masks in pixels, which can be large; on_pointed is called at once for every [SEG]."""
        question = checked_question(question)
        asked = question if self.turns else f"{IMAGE_PLACEHOLDER}\n{question}"
        turns = (*self.turns, Turn("user", asked))
        text = self.predictor.processor.text
        encoded = text.encode(Conversation(turns))
        stream = None if on_token is None else lambda _, token: on_token(token)
        model, pointed = self.predictor.model, []

        def look(_: int, said: Said) -> None:
            pointed.extend(point(model, said, self._embedding(), len(pointed)))
            on_pointed(pointed[-1])

        eos = self.predictor.processor.tokenizer.eos_token_id
        try:
            on_seg = None if on_pointed is None else look
            (said,) = decode(model, self._read(encoded), eos, max_new_tokens, stream, on_seg)
            self._remember(encoded, said)
            if said.seg_states:
                pointed += point(model, said, self._embedding(), len(pointed))
        except BaseException:
            # Broken off in the middle, the cache may hold a token in one layer and not in the next.
            self.rest()
            raise
        self.turns = (*turns, Turn("assistant", text.decode(said.ids)))
        return Heard(question=question, text=self.turns[-1].text, pointed=tuple(pointed))

    @torch.inference_mode()
    def mask(self, pointed: Pointed) -> np.ndarray:
        """(H, W) bool: where something points, in the picture."""
        return to_mask(pointed, self._size, self.predictor.model.config.sam["image_size"])

    @torch.inference_mode()
    def correct(self, pointed: Pointed, clicks: Sequence[Click]) -> Pointed:
        """Where it points after some clicks; `pointed` as `listen` gave it, and all clicks so far."""
        return correct(self.predictor.model, pointed, clicks, self._embedding(), self._size)

    def rest(self) -> None:
        """Let go of the language model's cache, which is large; the next question reads the conversation again."""
        self._cache = DynamicCache()
        self._held = torch.zeros(0, 2, dtype=torch.int64)

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

    @property
    def _size(self) -> ImageSize:
        (size,) = self._picture.sizes
        return size


def _identity(ids: Tensor, image_index: Tensor) -> Tensor:
    """(T, 2): two tokens are the same where both their id and their place in the picture are."""
    return torch.stack([ids, image_index], dim=1)
