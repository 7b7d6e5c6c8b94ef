"""One model for everybody: requests are worked on in the order in which they came, and the line has an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from lisa.serve.limits import STOPPING, RefusedError

P = ParamSpec("P")
T = TypeVar("T")


class RequestQueue:
    """A thread that does one piece of work after the other; at most `waiting` pieces wait for it."""

    def __init__(self, waiting: int, what: str = "questions") -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=what)
        self._most = waiting + 1  # one is being worked on
        self._what = what
        self._length = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future result of the work; RefusedError when too many wait already."""
        with self._lock:
            if self._length >= self._most:
                raise RefusedError(429, f"{self._length} {self._what} are waiting already; try again in a moment")
            self._length += 1
        try:
            future = self._thread.submit(work, *args, **kwargs)
        except RuntimeError as error:  # it is closed
            self._leave()
            raise RefusedError(503, STOPPING) from error
        future.add_done_callback(self._leave)
        return future

    def __len__(self) -> int:
        """Pieces of work that wait or are being done."""
        return self._length

    def close(self) -> None:
        """Finish what is being done, drop what waits."""
        self._thread.shutdown(cancel_futures=True)

    def _leave(self, _: Future | None = None) -> None:
        with self._lock:
            self._length -= 1
