"""Lisa: the model for people. Pictures and questions in, answers with masks out.

>>> from lisa import Lisa
>>> lisa = Lisa.load("tiny")
>>> lisa.ask("docs/example.jpg", "What could carry people over the water? Please output segmentation mask.")
Answer('Sure, the purple boat at the bottom [SEG].', 1 masks of 193 x 248)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lisa.checkpoint import load
from lisa.conversation import IMAGE_PLACEHOLDER, Conversation
from lisa.generation import Predictor
from lisa.image_input import name_of, to_pixels
from lisa.quantize import Quantization
from lisa.questions import LONGEST_ANSWER, checked_question
from lisa.results import Answer
from lisa.session import ChatSession

if TYPE_CHECKING:
    from lisa.image_input import AllowUrl, ImageInput

_WITH_PICTURE = f"{IMAGE_PLACEHOLDER}\n"
"""What stands before the first question."""


class Lisa:
    """A loaded model.

    Wherever a picture is asked for it may be a path, the bytes of a file, a PIL image, a numpy array (H, W, 3), a
    tensor (3, H, W), or, with allow_url=True, an http(s) URL; see `lisa.image_input.to_pixels`.
    What cannot be used (no picture, too large, an animation; a question that is empty, too long or holds `<image>` or
    [SEG]) raises ValueError or FileNotFoundError with a sentence that says what is wrong and how to mend it.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "tiny",
        device: str = "auto",
        dtype: str = "auto",
        quantize: Quantization | None = None,
    ) -> Lisa:
        """A model by name ("tiny" comes with the library), folder or hub id.

        device: auto (cuda, then mps, then cpu), cuda, cuda:1, mps, cpu. dtype: auto (fp32 on a CPU, else bf16), fp32,
        bf16, fp16. quantize: the language model in "8bit" or "4bit", where bitsandbytes is installed.

        >>> Lisa.load("tiny", device="cpu", dtype="fp32")
        Lisa('tiny', cpu, float32)
        """
        return cls(load(name_or_path, device=device, dtype=dtype, quantize=quantize))

    def __repr__(self) -> str:
        model = self.predictor.model
        return f"Lisa({self.predictor.name!r}, {model.device}, {str(model.dtype).removeprefix('torch.')})"

    def ask(
        self,
        image: ImageInput,
        question: str,
        *,
        max_new_tokens: int = LONGEST_ANSWER,
        allow_url: AllowUrl = False,
    ) -> Answer:
        """The answer to one question about one picture.

        >>> answer = lisa.ask("docs/example.jpg", "Please segment the boats in this image.")
        >>> answer.text
        'Sure, the segmentation result is [SEG].'
        >>> answer.masks.shape, answer.masks.dtype
        ((1, 193, 248), dtype('bool'))
        >>> answer.phrases
        ['Sure, the segmentation result is']
        >>> answer.scores.expected_iou.round(1), answer.scores.seg_probability.round(1)
        (array([0.9], dtype=float32), array([1.], dtype=float32))
        """
        asked = _Asked.of(image, allow_url)
        asked.conversations.append(self._conversation(question))
        (answer,) = self._answer([asked], max_new_tokens)
        return answer

    def chat(self, image: ImageInput, *, allow_url: AllowUrl = False) -> ChatSession:
        """A talk about one picture: each question is asked with all that was said before, and nothing is read twice.

        >>> chat = lisa.chat("docs/example.jpg")
        >>> chat.ask("What is in this picture?").masks.shape
        (0, 193, 248)
        >>> len(chat.ask("Please segment the boats in this image.").masks)
        1
        >>> [turn.role for turn in chat.turns]
        ['user', 'assistant', 'user', 'assistant']
        """
        return ChatSession(self.predictor, to_pixels(image, allow_url=allow_url), name_of(image))

    def ask_many(
        self,
        pairs: Iterable[tuple[ImageInput, str]],
        batch_size: int = 16,
        *,
        max_new_tokens: int = LONGEST_ANSWER,
        allow_url: AllowUrl = False,
    ) -> Iterator[Answer]:
        """The answers to many pairs of picture and question, in order, as they are made.

        batch_size is the number of questions that are answered together. Questions about the same picture that follow
        each other share what is computed for it: one encoding for up to batch_size of them. A pair that cannot be used
        raises ValueError that tells its number, after the answers to those before it.

        >>> questions = ["Please segment the boats in this image.", "What is in this picture?"]
        >>> [len(a.masks) for a in lisa.ask_many([("docs/example.jpg", q) for q in questions], batch_size=2)]
        [1, 0]
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is 1 or more, not {batch_size}")
        return self._answers(pairs, batch_size, max_new_tokens, allow_url)

    def _answers(
        self, pairs: Iterable[tuple[ImageInput, str]], batch_size: int, max_new_tokens: int, allow_url: AllowUrl
    ) -> Iterator[Answer]:
        waiting: list[_Asked] = []
        for number, (image, question) in enumerate(pairs):
            try:
                conversation = self._conversation(question)
                last = waiting[-1] if waiting else None
                asked = last if last and last.is_about(image) else _Asked.of(image, allow_url)
            except (ValueError, OSError) as error:
                yield from self._answer(waiting, max_new_tokens)
                kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
                raise kind(f"pair {number}: {error}") from error
            if last and last.is_same(asked):
                asked = last
            if sum(len(one.conversations) for one in waiting) == batch_size:
                # What is still being asked about waits for the next batch, so that its picture is encoded once.
                stays = waiting[-1:] if asked is last and len(waiting) > 1 else []
                yield from self._answer(waiting[: len(waiting) - len(stays)], max_new_tokens)
                asked = stays[0] if stays else replace(asked, conversations=[])
                waiting = stays
            if not waiting or waiting[-1] is not asked:
                waiting.append(asked)
            asked.conversations.append(conversation)
        yield from self._answer(waiting, max_new_tokens)

    def check(self, question: str) -> None:
        """ValueError says why a question cannot be asked, where it cannot."""
        self._conversation(question)

    def _conversation(self, question: str) -> Conversation:
        """The question about a picture, checked: it can be asked and is not too long for the model."""
        conversation = Conversation.of(_WITH_PICTURE + checked_question(question))
        self.predictor.processor.check(conversation)
        return conversation

    def _answer(self, pictures: list[_Asked], max_new_tokens: int) -> Iterator[Answer]:
        """The answers to one batch, which may be empty, in order."""
        if not pictures:
            return
        groups = self.predictor.generate(
            [one.pixels for one in pictures], [one.conversations for one in pictures], max_new_tokens
        )
        for one, answers in zip(pictures, groups, strict=True):
            for conversation, answer in zip(one.conversations, answers, strict=True):
                question = conversation.turns[0].text.removeprefix(_WITH_PICTURE)
                yield replace(answer, question=question, image=one.pixels, image_name=one.name)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A picture and what is asked about it."""

    given: ImageInput
    name: str
    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    conversations: list[Conversation] = field(default_factory=list)

    @staticmethod
    def of(image: ImageInput, allow_url: AllowUrl) -> _Asked:
        return _Asked(image, name_of(image), to_pixels(image, allow_url=allow_url))

    def is_about(self, image: ImageInput) -> bool:
        """Whether the image is this one, known without reading it."""
        # An array may be a buffer that holds the next frame of a film by now.
        return isinstance(image, str | Path | bytes) and isinstance(self.given, type(image)) and image == self.given

    def is_same(self, other: _Asked) -> bool:
        return self is other or (self.name == other.name and np.array_equal(self.pixels, other.pixels))
