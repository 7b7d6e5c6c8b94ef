"""What may be asked: one check for the Python API, the terminal and the browser."""

from __future__ import annotations

import unicodedata

from lisa.conversation import IMAGE_PLACEHOLDER, SEG

MAX_CHARACTERS = 10_000
"""Longest question; the model's own limit, in tokens, is lower for most."""

LONGEST_ANSWER = 128
"""Tokens of an answer, by default."""

_WHITE = {"\n", "\t"}


def checked_question(text: str) -> str:
    """The question without blanks around it; ValueError says what cannot be asked.

    Characters of other scripts, html and anything else that can be seen are text like any other.
    """
    if not isinstance(text, str):
        raise ValueError(f"a question is text, not {type(text).__name__}")
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise ValueError("the question is empty; ask something, as in: where is the red boat?")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the question has {len(text)} characters, more than {MAX_CHARACTERS}; shorten it")
    for place, character in enumerate(text):
        # Cc is control, Cs half of a character; a joiner of letters (Cf) is how some scripts and emoji are written.
        if unicodedata.category(character) in ("Cc", "Cs") and character not in _WHITE:
            raise ValueError(
                f"character {place + 1} of the question is the control character U+{ord(character):04X}; remove it"
            )
    if IMAGE_PLACEHOLDER in text:
        raise ValueError(f"the question holds {IMAGE_PLACEHOLDER}, which stands for the picture; remove it")
    if SEG in text:
        raise ValueError(f"the question holds {SEG}, which only the software may write; remove it")
    return text
