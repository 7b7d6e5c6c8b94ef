"""One model for everybody: whoever comes first is served first, and nobody waits in an endless line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from lisa.serve.limits import RefusedError

P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """A thread that does one piece of work after the other; at most `waiting` pieces wait for it."""

    def __init__(self, waiting: int) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._most = waiting + 1  # one is being worked on
        self._there = 0
        self._lock = threading.Lock()

    def hand_in(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future result of the work; RefusedError when too many wait already."""
        with self._lock:
            if self._there >= self._most:
                raise RefusedError(429, f"{self._there} questions are waiting already; try again in a moment")
            self._there += 1
        future = self._thread.submit(work, *args, **kwargs)
        future.add_done_callback(self._leave)
        return future

    @property
    def there(self) -> int:
        """Pieces of work that wait or are being done."""
        return self._there

    def close(self) -> None:
        """Finish what is being done, drop what waits."""
        self._thread.shutdown(cancel_futures=True)

    def _leave(self, _: Future) -> None:
        with self._lock:
            self._there -= 1
