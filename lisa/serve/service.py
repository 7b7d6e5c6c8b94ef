"""The model behind page and API: images and questions in, answers out, one after the other."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from lisa.flag_ranges import number_problems, refuse
from lisa.generation import Predictor
from lisa.pointing import Click
from lisa.questions import checked_question
from lisa.serve import sessions
from lisa.serve.downloads import coco_json, masks_zip
from lisa.serve.images import ReadImage, is_large, read_image, return_memory
from lisa.serve.limits import STOPPING, Limits, RefusedError
from lisa.serve.request_queue import RequestQueue
from lisa.serve.sessions import AnsweredTurn, Mask, Progress, Session, SessionStore, StoppedError

LONGEST_NAME = 100
"""Characters of a file name that are kept."""

LARGE_WAITING = 8
"""Large images, and downloads, that wait for their turn."""


class InferenceService:
    """A loaded model with its sessions. ValueError tells what a user did wrong, at once or from the Future.

    The model has one thread. Images are decoded beside it: small ones in two threads, large ones (and what is as large
    as they are, the downloads) one at a time, so that neither memory nor other people's time goes into them.
    """

    def __init__(self, predictor: Predictor, limits: Limits | None = None) -> None:
        self.predictor = predictor
        self.limits = limits or Limits()
        refuse(number_problems(self.limits))
        self.sessions = SessionStore(self.limits)
        self.queue = RequestQueue(self.limits.waiting)
        self.large = RequestQueue(LARGE_WAITING, "large images")
        self._closing = threading.Event()
        self._decoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decoder")

    def is_large(self, data: bytes) -> Future[bool]:
        """Whether `read` is to read a file as a large one."""
        return self._decoders.submit(is_large, data, self.limits)

    def read(self, data: bytes, large: bool) -> Future[ReadImage]:
        """The image in a file; RefusedError where it takes too much memory or too many large ones wait."""
        if large:
            return self.large.submit(read_image, data, self.limits)
        return self._decoders.submit(read_image, data, self.limits)

    def ask_once(
        self, image: ReadImage, name: str, question: str, answer_tokens: int
    ) -> Future[tuple[Session, AnsweredTurn]]:
        """One question about an image; nothing is remembered."""
        return self.queue.submit(self._ask_once, image, name, checked_question(question), answer_tokens)

    def open(self, image: ReadImage, name: str) -> Future[Session]:
        """A session about an image."""
        return self.queue.submit(self._open, image, name)

    def ask(
        self, session_id: str, question: str, answer_tokens: int, progress: Progress | None = None
    ) -> Future[tuple[Session, AnsweredTurn]]:
        """The next question of a session."""
        question = checked_question(question)
        session = self.sessions.get(session_id)
        return self.queue.submit(self._ask, session, question, answer_tokens, progress)

    def correct(self, session_id: str, turn: int, mask: int, clicks: Sequence[Click]) -> Future[Mask]:
        """Correct a mask of a session by clicks."""
        session = self.sessions.get(session_id)
        return self.queue.submit(self._correct, session, turn, mask, clicks)

    def masks_zip(self, session_id: str) -> Future[bytes]:
        """Every mask of a session as PNG."""
        return self._download(masks_zip, session_id)

    def coco_json(self, session_id: str) -> Future[bytes]:
        """Every mask of a session as COCO instances."""
        return self._download(coco_json, session_id)

    def close(self) -> None:
        """Answer nobody any more; what the model is saying ends at its next token."""
        self._closing.set()
        self.queue.close()
        self.large.close()
        self._decoders.shutdown(cancel_futures=True)

    def _download(self, write, session_id: str) -> Future[bytes]:
        session = self.sessions.get(session_id)
        # As it is now: the model's thread may go on with the session meanwhile.
        turns = [AnsweredTurn(turn.question, turn.text, list(turn.masks)) for turn in list(session.turns)]
        return self.large.submit(self._written, write, session, turns)

    def _written(self, write, session: Session, turns: Sequence[AnsweredTurn]) -> bytes:
        with self._large_memory(session.height * session.width):
            return write(session, turns)

    @contextmanager
    def _large_memory(self, pixels: int) -> Iterator[None]:
        """Around work on an image of so many pixels, whose memory is not kept for later."""
        try:
            yield
        finally:
            if pixels > self.limits.full_megapixels * 1_000_000:
                return_memory()

    def _open(self, image: ReadImage, name: str) -> Session:
        with self._large_memory(image.height * image.width):
            session = sessions.open_session(self.predictor, image, plain_name(name), self.limits)
        self.sessions.add(session)
        return session

    def _ask_once(self, image: ReadImage, name: str, question: str, answer_tokens: int) -> tuple[Session, AnsweredTurn]:
        with self._large_memory(image.height * image.width):
            session = sessions.open_session(self.predictor, image, plain_name(name), self.limits)
            return session, self._answered(session, question, answer_tokens, Progress())

    def _ask(
        self, session: Session, question: str, answer_tokens: int, progress: Progress | None
    ) -> tuple[Session, AnsweredTurn]:
        try:
            with self._large_memory(session.height * session.width):
                return session, self._answered(session, question, answer_tokens, progress or Progress())
        finally:
            for other in self.sessions.uncached():
                other.chat.rest()

    def _answered(self, session: Session, question: str, answer_tokens: int, progress: Progress) -> AnsweredTurn:
        watched = replace(progress, stopped=lambda: self._closing.is_set() or progress.stopped())
        try:
            return sessions.ask(session, question, answer_tokens, self.limits, watched)
        except StoppedError as error:
            if self._closing.is_set():
                raise RefusedError(503, STOPPING) from error
            raise

    def _correct(self, session: Session, turn: int, mask: int, clicks: Sequence[Click]) -> Mask:
        with self._large_memory(session.height * session.width):
            return sessions.correct(session, turn, mask, clicks, self.limits)


def plain_name(name: str) -> str:
    """A file name as it may stand in an answer or an archive: no folders, no control characters, not long."""
    name = PurePosixPath(str(name or "").replace("\\", "/")).name
    name = re.sub(r"[^\w.\- ()]", "_", name).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if len(name) > LONGEST_NAME:
        name = (stem or name)[: LONGEST_NAME - 10] + dot + ending[:9]
    return name or "image"
