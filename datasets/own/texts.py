"""Every text of own data, checked before a run begins: with the model's own tokenizer, all problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from datasets.own.records import OwnPictures, Said
from datasets.templates import (
    ANSWERS,
    IMAGE_LINE,
    VALIDATION_ANSWER,
    is_question,
    longest_request,
    validation_question,
)
from lisa.conversation import Conversation

if TYPE_CHECKING:
    from lisa.text_checks import TextChecker

TOGETHER = 10_000
"""Texts that are held in memory at once."""


@dataclass(kw_only=True)
class TextReport:
    """What a model cannot read in the texts of a source."""

    problems: list[str] = field(default_factory=list)
    """With which no run can go on; each names file and record."""
    cut: list[str] = field(default_factory=list)
    """Conversations whose end does not fit and is not learned."""


def check_own_texts(pictures: OwnPictures, checker: TextChecker, training: bool) -> TextReport:
    """Look at all texts, as training or as validation asks them."""
    report = TextReport()
    write = _in_training if training else _in_validation
    texts = pictures.said()
    while some := list(islice(texts, TOGETHER)):
        conversations = [write(said) for said in some]
        sizes = list(_sizes(pictures, some)) if checker.sizes_matter else [None] * len(some)
        for said, flaw in zip(some, checker.flaws(conversations, sizes, training), strict=True):
            if flaw is not None:
                (report.problems if flaw.stops else report.cut).append(f"{said.where}: {flaw.what}")
    return report


def _in_training(said: Said) -> Conversation:
    """A conversation word by word; a name in the longest sentences that may ask for it."""
    if isinstance(said.text, Conversation):
        return said.text
    if is_question(said.text):
        return Conversation.of(IMAGE_LINE + said.text, max(ANSWERS, key=len))
    return Conversation.of(*longest_request(said.text))


def _in_validation(said: Said) -> Conversation:
    """The first turn of a conversation; a name in the fixed words."""
    if isinstance(said.text, Conversation):
        return Conversation(said.text.turns[:2])
    if is_question(said.text):
        return Conversation.of(IMAGE_LINE + said.text, VALIDATION_ANSWER)
    return Conversation.of(validation_question(said.text, is_sentence=False), VALIDATION_ANSWER)


def _sizes(pictures: OwnPictures, some: list[Said]) -> Iterator[tuple[int, int]]:
    """(H, W) of each text's image, by its header."""
    known: dict[int, tuple[int, int]] = {}
    for said in some:
        if said.index not in known:
            known[said.index] = pictures[said.index].size
        yield known[said.index]
