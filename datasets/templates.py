"""Question and answer sentences (the reference's own words, so that released weights understand them)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lisa.conversation import IMAGE_PLACEHOLDER, SEG

Item = TypeVar("Item")

IMAGE_LINE = f"{IMAGE_PLACEHOLDER}\n"

SHORT_QUESTIONS = (
    "Can you segment the {phrase} in this image?",
    "Please segment the {phrase} in this image.",
    "What is {phrase} in this image? Please respond with segmentation mask.",
    "What is {phrase} in this image? Please output segmentation mask.",
)
LONG_QUESTIONS = (
    "{sentence} Please respond with segmentation mask.",
    "{sentence} Please output segmentation mask.",
)
EXPLANATORY_QUESTIONS = (
    "{sentence} Please output segmentation mask and explain why.",
    "{sentence} Please output segmentation mask and explain the reason.",
    "{sentence} Please output segmentation mask and give some explanation.",
)
ANSWERS = (
    f"It is {SEG}.",
    f"Sure, {SEG}.",
    f"Sure, it is {SEG}.",
    f"Sure, the segmentation result is {SEG}.",
    f"{SEG}.",
)
NAMED_ANSWERS = (
    f"It is the {{name}} {SEG}.",
    f"Sure, it is the {{name}} {SEG}.",
    f"Sure, the {{name}} {SEG}.",
)
VALIDATION_ANSWER = f"{SEG}."


_QUESTION_WORDS = ("what", "where", "which", "who", "whose", "how", "why", "please", "can you", "could you")
_WIDE_ENDS = ("\u3002", "\uff1f", "\uff01")  # of sentences in Chinese and Japanese, which part words by no blank


def is_question(label: str) -> bool:
    """Whether a label or category is a whole question or request, to be asked as it stands, and not a name.

    It has several words, and ends as a sentence does or begins with a word of asking: `lisa annotate` labels masks with
    the question where its prompt has no name.
    """
    if label.endswith(_WIDE_ENDS):
        return True
    words = label.lower().split()
    asks = any(words[: len(word.split())] == word.split() for word in _QUESTION_WORDS)
    return len(words) > 1 and (asks or label.endswith((".", "?", "!")))


def choose(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One item, uniformly."""
    return items[int(rng.integers(len(items)))]


def choose_some(rng: np.random.Generator, items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` items, uniformly, none twice, in random order."""
    return [items[index] for index in rng.permutation(len(items))[:most]]


def short_question(rng: np.random.Generator, phrase: str) -> str:
    """Ask for a class or a referring phrase, which is lower-cased."""
    return IMAGE_LINE + choose(rng, SHORT_QUESTIONS).format(phrase=phrase.lower())


def long_question(rng: np.random.Generator, sentence: str) -> str:
    """Ask with a whole sentence, whose case is kept."""
    return IMAGE_LINE + choose(rng, LONG_QUESTIONS).format(sentence=sentence)


def explanatory_question(rng: np.random.Generator, sentence: str) -> str:
    """Ask for a mask and for the reason."""
    return IMAGE_LINE + choose(rng, EXPLANATORY_QUESTIONS).format(sentence=sentence)


def validation_question(text: str, is_sentence: bool) -> str:
    """The fixed question of validation; the blank after the line break is the reference's."""
    asked = text if is_sentence else f"What is {text} in this image?"
    return f"{IMAGE_LINE} {asked} Please output segmentation mask."


def answer(rng: np.random.Generator, name: str, name_targets: float) -> str:
    """An answer with one [SEG]; with probability `name_targets` it says before what it points at.

    A target without a name ("") always gets a plain answer.
    """
    if name and rng.random() < name_targets:
        return choose(rng, NAMED_ANSWERS).format(name=name)
    return choose(rng, ANSWERS)


def check_text(text: str, where: str) -> str:
    """`text` without surrounding blanks, which may go into a conversation; `where` names file and record.

    A [SEG] or <image> inside it would stand for a mask or a picture that is not there; half a surrogate pair,
    which JSON can write, has no UTF-8 and so no tokens.
    """
    for token in (SEG, IMAGE_PLACEHOLDER):
        if token in text:
            raise ValueError(f"{where}: the text {text!r:.60} holds {token}, a control word; remove it")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{where}: the text {text!r:.60} holds half a character, which no file can; correct it")
    if not text.strip():
        raise ValueError(f"{where}: the text is empty; fill it in or remove the record")
    return text.strip()
