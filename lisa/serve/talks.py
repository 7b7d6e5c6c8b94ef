"""Who asks about what: pictures, what was said about them, and where it points. Everything is in memory, bounded.

A talk is known by a token that nobody can guess; who does not have it cannot find out that the talk is there.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lisa.formats import encode_rle
from lisa.pointing import Click, Pointed
from lisa.results import phrases_of
from lisa.serve.limits import Limits, RefusedError
from lisa.serve.outline import outline_path, preview_jpeg
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
class Spoken:
    """A question and its answer."""

    question: str
    text: str
    masks: list[Mask]


@dataclass
class Talk:
    """A picture and what was said about it; used by the model's thread only."""

    session: ChatSession
    name: str
    """The picture's file name as its owner calls it; never a path."""
    height: int
    width: int
    preview: bytes
    """JPEG for the page."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    spoken: list[Spoken] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)


class Talks:
    """All talks of a server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._talks: OrderedDict[str, Talk] = OrderedDict()  # the one used longest ago first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._talks)

    def add(self, talk: Talk) -> None:
        """Remember a talk; others are forgotten where there are too many."""
        with self._lock:
            self._talks[talk.token] = talk
            self._forget_old()

    def get(self, token: str) -> Talk:
        """The talk with the token; RefusedError 404 where there is none."""
        with self._lock:
            self._forget_old()
            talk = self._talks.get(token) if isinstance(token, str) else None
            if talk is None:
                raise RefusedError(404, "there is no such talk, or it was forgotten; send the picture again")
            talk.used = time.monotonic()
            self._talks.move_to_end(token)
            return talk

    def drop(self, token: str) -> None:
        """Forget a talk; RefusedError 404 where there is none."""
        self.get(token)
        with self._lock:
            self._talks.pop(token, None)

    def resting(self) -> list[Talk]:
        """Those that are to give the language model's memory back: all but the `warm` that were used last."""
        with self._lock:
            return list(self._talks.values())[: -self.limits.warm or None]

    def _forget_old(self) -> None:
        oldest = time.monotonic() - 60 * self.limits.idle_minutes
        while self._talks and (len(self._talks) > self.limits.talks or next(iter(self._talks.values())).used < oldest):
            self._talks.popitem(last=False)


def begin(predictor, pixels: np.ndarray, name: str, limits: Limits) -> Talk:
    """A talk about a picture (H, W, 3) uint8 RGB, of which only what is needed is kept."""
    height, width = pixels.shape[:2]
    session = ChatSession(predictor, pixels, name)
    session.image = None  # up to 450 MB
    return Talk(session=session, name=name, height=height, width=width, preview=preview_jpeg(pixels, limits.preview))


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


def ask(talk: Talk, question: str, answer_tokens: int, limits: Limits, progress: Progress | None = None) -> Spoken:
    """Ask the next question of a talk; the answer is remembered in it."""
    progress = progress or Progress()
    decode, ids, masks = talk.session.predictor.processor.text.decode, [], []

    def hear(token: int) -> None:
        if progress.stopped():
            raise StoppedError
        ids.append(token)
        progress.on_text(decode(ids))

    def see(pointed: Pointed) -> None:
        if len(masks) == limits.masks:
            raise RefusedError(413, f"the answer points at more than {limits.masks} things; ask for fewer")
        mask = talk.session.mask(pointed)
        phrase = phrases_of(decode(ids), len(masks) + 1)[-1]
        masks.append(_record(pointed, phrase, mask, limits))
        progress.on_mask(masks[-1])

    heard = talk.session.listen(question, min(answer_tokens, limits.answer_tokens), hear, see)
    spoken = Spoken(question=heard.question, text=heard.text, masks=masks)
    talk.spoken.append(spoken)
    return spoken


def correct(talk: Talk, answer: int, mask: int, clicks: Sequence[Click], limits: Limits) -> Mask:
    """Correct a mask by all clicks that were made on it; without any it is again what the answer gave."""
    if not 0 <= answer < len(talk.spoken):
        raise RefusedError(404, f"there is no answer {answer} in this talk; it has {len(talk.spoken)}")
    masks = talk.spoken[answer].masks
    if not 0 <= mask < len(masks):
        raise RefusedError(404, f"there is no mask {mask} in answer {answer}; it has {len(masks)}")
    if len(clicks) > limits.clicks:
        raise RefusedError(413, f"{len(clicks)} clicks on one mask are more than {limits.clicks}; ask in other words")
    old = masks[mask]
    pointed = talk.session.correct(old.pointed, clicks)
    new = _record(pointed, old.phrase, talk.session.mask(pointed), limits)
    masks[mask] = replace(new, pointed=old.pointed, clicks=tuple(clicks))
    return masks[mask]


def _record(pointed: Pointed, phrase: str, mask: np.ndarray, limits: Limits) -> Mask:
    return Mask(
        pointed=pointed,
        phrase=phrase,
        rle=encode_rle(mask),
        outline=outline_path(mask, limits.preview),
        expected_iou=pointed.expected_iou,
    )
