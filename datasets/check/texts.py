"""What a model cannot read of the texts of a dataset; notes, since training makes them readable (`datasets.texts`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.check.problems import Problems, split_message
from lisa.conversation import Conversation

if TYPE_CHECKING:
    from lisa.text_checks import TextChecker

USUAL_SIZE = (480, 640)
"""(H, W) that every image is taken to have, where its size decides how many tokens it has."""


@dataclass(kw_only=True)
class Texts:
    """Collects conversations of one dataset, and has them read; without a checker it forgets them."""

    checker: TextChecker | None
    said: list[tuple[Path, str, Conversation]] = field(default_factory=list)  # file, record, what is said

    def add(self, file: Path, record: str, conversation: Conversation) -> None:
        """A conversation as training would hold it."""
        if self.checker is not None:
            self.said.append((file, record, conversation))

    def read(self, problems: Problems) -> None:
        """Notes about those that hold control words, or that are too long."""
        if self.checker is None:
            return
        conversations = [conversation for _, _, conversation in self.said]
        flaws = self.checker.flaws(conversations, [USUAL_SIZE] * len(conversations), training=True)
        for (file, record, _), flaw in zip(self.said, flaws, strict=True):
            if flaw is None:
                continue
            what, _ = split_message(flaw.what, file, record)
            if flaw.stops:
                mend = "training escapes control words, and leaves out what is too long"
                problems.note("unreadable text", file, record, what, mend)
            else:
                problems.note("long text", file, record, what, "training cuts its end off")
