"""Chat sessions: images, what was asked about them, and the masks. Everything is in memory, bounded.

A session is known by an id that nobody can guess; who does not have it cannot find out that the session is there.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lisa.generation import Predictor
from lisa.pointing import Click, Pointed
from lisa.results import phrases_of
from lisa.serve.images import ReadImage
from lisa.serve.limits import Limits, RefusedError
from lisa.serve.outline import outline_path, preview_jpeg
from lisa.serve.rle import enlarged_rle
from lisa.session import ChatSession


@dataclass(eq=False)
class Mask:
    """One mask of an answer, as it is now."""

    pointed: Pointed
    """As the answer gave it; corrections start from here."""
    phrase: str
    rle: dict
    outline: str
    expected_iou: float
    clicks: tuple[Click, ...] = ()

    @property
    def seg_probability(self) -> float:
        return self.pointed.seg_probability


@dataclass(eq=False)
class AnsweredTurn:
    """A question and its answer."""

    question: str
    text: str
    masks: list[Mask]


@dataclass(eq=False)
class Session:
    """An image and what was said about it; changed by the model's thread only."""

    chat: ChatSession
    name: str
    """The image's file name as its owner calls it; never a path."""
    height: int
    """Of the image as it is displayed, pixels."""
    width: int
    seen: tuple[int, int]
    """(h, w) of the image as the model got it."""
    preview: bytes
    """JPEG for the page."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    turns: list[AnsweredTurn] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)


class SessionStore:
    """All sessions of a server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the one used longest ago first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Remember a session; others are forgotten where there are too many."""
        with self._lock:
            self._sessions[session.id] = session
            self._forget_old()

    def get(self, session_id: str) -> Session:
        """The session with the id; RefusedError 404 where there is none."""
        with self._lock:
            self._forget_old()
            session = self._sessions.get(session_id)
            if session is None:
                raise RefusedError(404, "there is no such session, or it was forgotten; send the image again")
            session.used = time.monotonic()
            self._sessions.move_to_end(session_id)
            return session

    def remove(self, session_id: str) -> None:
        """Forget a session; RefusedError 404 where there is none."""
        self.get(session_id)
        with self._lock:
            self._sessions.pop(session_id, None)

    def uncached(self) -> list[Session]:
        """Those that are to give the language model's memory back: all but the ones used last."""
        with self._lock:
            return list(self._sessions.values())[: -self.limits.cached_sessions]

    def _forget_old(self) -> None:
        oldest = time.monotonic() - 60 * self.limits.idle_minutes
        sessions = self._sessions
        while sessions and (len(sessions) > self.limits.sessions or next(iter(sessions.values())).used < oldest):
            sessions.popitem(last=False)


def open_session(predictor: Predictor, image: ReadImage, name: str, limits: Limits) -> Session:
    """A session about an image, of which only what is needed is kept."""
    chat = ChatSession(predictor, image.pixels, name)
    chat.image = None  # its pixels are not needed any more
    preview = preview_jpeg(image.pixels, limits.preview)
    seen = image.pixels.shape[:2]
    return Session(chat=chat, name=name, height=image.height, width=image.width, seen=seen, preview=preview)


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is told while an answer is made; each is called in the model's thread."""

    on_text: Callable[[str], None] = lambda text: None
    """The text so far."""
    on_mask: Callable[[Mask], None] = lambda mask: None
    """A mask, as soon as its [SEG] is said."""
    stopped: Callable[[], bool] = lambda: False
    """Whether nobody listens any more."""


def ask(session: Session, question: str, answer_tokens: int, limits: Limits, progress: Progress) -> AnsweredTurn:
    """Ask the next question of a session; the answer is remembered in it."""
    decode, ids, masks = session.chat.predictor.processor.text.decode, [], []
    if progress.stopped():
        raise StoppedError

    def on_token(token: int) -> None:
        if progress.stopped():
            raise StoppedError
        ids.append(token)
        progress.on_text(decode(ids))

    def on_pointed(pointed: Pointed) -> None:
        if len(masks) == limits.masks:
            raise RefusedError(413, f"the answer points at more than {limits.masks} things; ask for fewer")
        phrase = phrases_of(decode(ids), len(masks) + 1)[-1]
        masks.append(_to_mask(session, pointed, phrase, limits))
        progress.on_mask(masks[-1])

    heard = session.chat.listen(question, min(answer_tokens, limits.answer_tokens), on_token, on_pointed)
    turn = AnsweredTurn(question=heard.question, text=heard.text, masks=masks)
    session.turns.append(turn)
    return turn


def correct(session: Session, turn: int, mask: int, clicks: Sequence[Click], limits: Limits) -> Mask:
    """Correct a mask by all clicks that were made on it; without any it is again what the answer gave."""
    if not 0 <= turn < len(session.turns):
        raise RefusedError(404, f"there is no turn {turn} in this session; it has {len(session.turns)}")
    masks = session.turns[turn].masks
    if not 0 <= mask < len(masks):
        raise RefusedError(404, f"there is no mask {mask} in turn {turn}; it has {len(masks)}")
    if len(clicks) > limits.clicks:
        raise RefusedError(413, f"{len(clicks)} clicks on one mask are more than {limits.clicks}; ask in other words")
    old = masks[mask]
    pointed = session.chat.correct(old.pointed, [_on_pixels(session, click) for click in clicks])
    new = _to_mask(session, pointed, old.phrase, limits)
    masks[mask] = replace(new, pointed=old.pointed, clicks=tuple(clicks))
    return masks[mask]


def _on_pixels(session: Session, click: Click) -> Click:
    """A click in pixels of the file -> in those that the model has seen, which may be fewer."""
    if not (0 <= click.x <= session.width and 0 <= click.y <= session.height):
        raise ValueError(
            f"a click at x {click.x:g}, y {click.y:g} is not in the image of {session.width} x {session.height} pixels"
        )
    height, width = session.seen
    return replace(click, x=click.x * width / session.width, y=click.y * height / session.height)


def _to_mask(session: Session, pointed: Pointed, phrase: str, limits: Limits) -> Mask:
    mask: np.ndarray = session.chat.mask(pointed)
    return Mask(
        pointed=pointed,
        phrase=phrase,
        rle=enlarged_rle(mask, session.height, session.width),
        outline=outline_path(mask, limits.preview, (session.height, session.width)),
        expected_iou=pointed.expected_iou,
    )
