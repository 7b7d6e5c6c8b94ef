"""Which conversations a model cannot read, found ahead of the run and fast: most are passed without being tokenized."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lisa.conversation import IMAGE_PLACEHOLDER, SEG, Conversation, Turn
from lisa.kept import KEPT_MODELS
from lisa.model_settings import read_model_settings
from lisa.pictures import PictureText
from lisa.processing import LisaProcessor

Size = tuple[int, int]
"""(H, W) of an image, pixels."""

TOGETHER = 2048
"""Conversations that are tokenized in one call."""

SHORTEST = 40
"""Characters of a question that is not cut any further."""

SLACK = 4
"""Tokens a turn may have more when it is tokenized between its neighbours."""


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a conversation."""

    what: str
    """A sentence, without the place."""
    stops: bool
    """It cannot be read; else its end is cut off."""


class TextChecker:
    """Finds what a processor would refuse, with its own tokenizer, template and longest conversation."""

    def __init__(self, processor: LisaProcessor) -> None:
        self.processor = processor
        self.text = processor.text
        self._images: dict[Size, PictureText] = {}
        self._frames: dict[int, int] = {}

    @property
    def sizes_matter(self) -> bool:
        """Whether images of other sizes have other numbers of tokens."""
        return not self.processor.pictures.tokens_per_image

    def flaws(
        self, conversations: Sequence[Conversation], sizes: Sequence[Size | None], training: bool
    ) -> list[Flaw | None]:
        """What is wrong with each conversation about an image of that size; sizes may be None unless `sizes_matter`.

        In training the end of a long conversation is cut off where no [SEG] is lost; else it is refused.
        """
        found: list[Flaw | None] = [self._control_flaw(conversation) for conversation in conversations]
        long = [
            index
            for index, (conversation, size) in enumerate(zip(conversations, sizes, strict=True))
            if found[index] is None and not self._is_short(conversation, size)
        ]
        for start in range(0, len(long), TOGETHER):
            some = long[start : start + TOGETHER]
            counts = self._count_tokens([conversations[index] for index in some])
            for index, count in zip(some, counts, strict=True):
                conversation, size = conversations[index], sizes[index]
                if self._room(conversation, size) < count:
                    found[index] = self._length_flaw(conversation, size, training)
        return found

    def escaped(self, conversation: Conversation) -> Conversation:
        """The conversation with a blank in each token that only the software may write: "<s>" becomes "< s>"."""
        if self._control_flaw(conversation) is None:
            return conversation
        turns = []
        for turn in conversation.turns:
            text = turn.text
            for token in self.text.forbidden[turn.role]:
                text = text.replace(token, f"{token[0]} {token[1:]}")
            turns.append(Turn(turn.role, text))
        return Conversation(tuple(turns))

    def shortened(self, conversation: Conversation, size: Size) -> Conversation:
        """The conversation with its first question cut at the end until it can be read."""
        (question, *rest) = conversation.turns
        while self.flaws([conversation], [size], training=False)[0] is not None and len(question.text) > SHORTEST:
            question = Turn("user", question.text[: len(question.text) * 9 // 10])
            conversation = Conversation((question, *rest))
        return conversation

    def room_for_a_question(self, size: Size) -> int:
        """Tokens that an image of that size and the template leave for a question and its answer; may be negative."""
        return self._room(Conversation.of("", ""), size)

    def _control_flaw(self, conversation: Conversation) -> Flaw | None:
        for turn in conversation.turns:
            for token in self.text.forbidden[turn.role]:
                if token in turn.text:
                    what = f"the {turn.role}'s text {turn.text!r:.60} holds {token}, which only the software may write"
                    return Flaw(f"{what}; remove it", stops=True)
        return None

    def _is_short(self, conversation: Conversation, size: Size | None) -> bool:
        """Whether it fits for certain: no token is shorter than a byte."""
        return sum(_bytes(turn.text) for turn in conversation.turns) <= self._room(conversation, size)

    def _room(self, conversation: Conversation, size: Size | None) -> int:
        """Tokens that are left for what the turns say."""
        turns = len(conversation.turns)
        if turns not in self._frames:
            self._frames[turns] = self._frame_of(turns)
        image = len(self._image(size).ids) if self.sizes_matter else self.processor.pictures.tokens_per_image
        return self.text.model_max_length - image - self._frames[turns]

    def _count_tokens(self, conversations: Sequence[Conversation]) -> list[int]:
        """Of what the turns say."""
        texts = [turn.text for conversation in conversations for turn in conversation.turns]
        counts = iter(len(ids) for ids in self.text.tokenizer(texts, add_special_tokens=False).input_ids)
        return [sum(next(counts) for _ in conversation.turns) for conversation in conversations]

    def _length_flaw(self, conversation: Conversation, size: Size | None, training: bool) -> Flaw | None:
        picture = self._image(size) if self.sizes_matter else None
        try:
            self.text.encode(conversation, False, picture)
        except ValueError as refusal:
            try:
                self.text.encode(conversation, training, picture)
            except ValueError:
                return Flaw(str(refusal), stops=True)
            return Flaw(str(refusal), stops=False)
        return None

    def _image(self, size: Size) -> PictureText:
        """What an image of that size is in a text; found by preparing a black one, once."""
        if size not in self._images:
            _, (shape,) = self.processor.pictures.pixels([np.zeros((*size, 3), np.uint8)])
            self._images[size] = self.processor.pictures.text(shape)
        return self._images[size]

    def _frame_of(self, turns: int) -> int:
        """Tokens of a conversation of so many turns that are neither image nor text, and some to spare."""
        said = [Turn("user" if k % 2 == 0 else "assistant", "a") for k in range(turns)]
        said[0] = Turn("user", f"{IMAGE_PLACEHOLDER}\na")
        picture = PictureText.of([], -1, 0, []) if self.sizes_matter else None
        endless = replace(self.text, model_max_length=sys.maxsize)
        length = len(endless.encode(Conversation(tuple(said)), picture=picture))
        return length - self.processor.pictures.tokens_per_image + SLACK * turns


def processor_of(model: str) -> LisaProcessor:
    """What reads texts for a model, without its weights: a LISA, or a vision-language model that is to become one.

    model: a folder, a hub id, or the name of a model that comes with the library.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

    from lisa.backbones import family_of
    from lisa.config import LisaConfig
    from lisa.tokenization import add_lisa_tokens

    version = str(KEPT_MODELS / model) if (KEPT_MODELS / model).is_dir() else model
    settings = read_model_settings(version)
    folder = settings.folder
    if settings.kind in ("lisa", "released"):
        return LisaProcessor.from_pretrained(folder)
    if settings.kind == "old_llava":
        raise ValueError(
            f"{model} is a LLaVA in its authors' format, whose texts are read as a released LISA's: name such a one"
        )
    tokenizer, vlm = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    marks = not family_of(vlm).reader.marks_pictures
    add_lisa_tokens(tokenizer, marks)
    config = LisaConfig(
        vlm_config=vlm,
        seg_token_id=tokenizer.get_vocab()[SEG],
        template=settings.defaults["conv_type"],
        use_im_start_end=marks,
        model_max_length=settings.defaults.get("model_max_length", 512),
    )
    return LisaProcessor(config, tokenizer, AutoImageProcessor.from_pretrained(folder))


def _bytes(text: str) -> int:
    """Bytes of a text, or of what a tokenizer may make of it first."""
    if text.isascii():
        return len(text)
    return max(
        len(text.encode("utf-8", "replace")), len(unicodedata.normalize("NFKC", text).encode("utf-8", "replace"))
    )
