"""What is said about a picture: turns of a user and an assistant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SEG = "[SEG]"
"""The one token that LISA adds: the assistant points at something with it."""

IMAGE_PLACEHOLDER = "<image>"
"""Where the picture stands in the text of a turn; written once per picture."""


@dataclass(frozen=True)
class Turn:
    """One message; `text` may hold `<image>` (user) and `[SEG]` (assistant)."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """Turns about one picture, user first, then alternating."""

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        expected = ["user", "assistant"] * len(self.turns)
        roles = [turn.role for turn in self.turns]
        if not roles or roles != expected[: len(roles)]:
            raise ValueError(f"a conversation starts with the user and alternates, but its roles are {roles}")

    @staticmethod
    def of(question: str, answer: str | None = None) -> Conversation:
        """One question, with its answer or still without."""
        turns = [Turn("user", question)]
        return Conversation((*turns, Turn("assistant", answer)) if answer is not None else tuple(turns))

    @property
    def num_seg(self) -> int:
        """How many masks the assistant points at."""
        return sum(turn.text.count(SEG) for turn in self.turns if turn.role == "assistant")
