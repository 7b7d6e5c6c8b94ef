"""The model behind page and API: pictures and questions in, answers out, one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import PurePosixPath

from lisa.generation import Predictor
from lisa.image_input import to_pixels
from lisa.pointing import Click
from lisa.questions import checked_question
from lisa.serve import talks
from lisa.serve.desk import Desk
from lisa.serve.limits import Limits
from lisa.serve.talks import Mask, Progress, Spoken, Talk, Talks

LONGEST_NAME = 100
"""Characters of a file name that are kept."""


class Host:
    """A loaded model with its talks. ValueError tells what a user did wrong, at once or from the Future."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None) -> None:
        self.predictor = predictor
        self.limits = limits or Limits()
        self.talks = Talks(self.limits)
        self.desk = Desk(self.limits.waiting)

    def ask_once(self, data: bytes, name: str, question: str, answer_tokens: int) -> Future[tuple[Talk, Spoken]]:
        """One question about the picture in a file; nothing is remembered."""
        question = checked_question(question)  # before anything waits
        return self.desk.hand_in(self._ask_once, data, name, question, answer_tokens)

    def open(self, data: bytes, name: str) -> Future[Talk]:
        """A talk about the picture in a file."""
        return self.desk.hand_in(self._open, data, name)

    def ask(
        self, token: str, question: str, answer_tokens: int, progress: Progress | None = None
    ) -> Future[tuple[Talk, Spoken]]:
        """The next question of a talk."""
        question = checked_question(question)
        talk = self.talks.get(token)
        return self.desk.hand_in(self._ask, talk, question, answer_tokens, progress)

    def correct(self, token: str, answer: int, mask: int, clicks: Sequence[Click]) -> Future[Mask]:
        """Correct a mask of a talk by clicks."""
        talk = self.talks.get(token)
        return self.desk.hand_in(talks.correct, talk, answer, mask, clicks, self.limits)

    def close(self) -> None:
        """Answer nobody any more."""
        self.desk.close()

    def _begin(self, data: bytes, name: str) -> Talk:
        return talks.begin(self.predictor, to_pixels(data), plain_name(name), self.limits)

    def _open(self, data: bytes, name: str) -> Talk:
        talk = self._begin(data, name)
        self.talks.add(talk)
        return talk

    def _ask_once(self, data: bytes, name: str, question: str, answer_tokens: int) -> tuple[Talk, Spoken]:
        talk = self._begin(data, name)
        return talk, talks.ask(talk, question, answer_tokens, self.limits)

    def _ask(self, talk: Talk, question: str, answer_tokens: int, progress: Progress | None) -> tuple[Talk, Spoken]:
        try:
            return talk, talks.ask(talk, question, answer_tokens, self.limits, progress)
        finally:
            for cold in self.talks.resting():
                cold.session.rest()


def plain_name(name: str) -> str:
    """A file name as it may stand in an answer or an archive: no folders, no control characters, not long."""
    name = PurePosixPath(str(name or "").replace("\\", "/")).name
    name = re.sub(r"[^\w.\- ()]", "_", name).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if len(name) > LONGEST_NAME:
        name = (stem or name)[: LONGEST_NAME - 10] + dot + ending[:9]
    return name or "picture"
