"""Work on many files at once, with a bar that shows how far it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from rich.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 32  # items that are done before a second process has started
_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Runs a function over items, on `count` processes."""

    count: int
    progress: Progress

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
        """Results in the order of the items; `what` stands beside the bar."""
        task = self.progress.add_task(what, total=len(items))
        for result in self._results(function, items):
            self.progress.advance(task)
            yield result
        self.progress.remove_task(task)

    def _results(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        if self.count <= 1 or len(items) <= _FEW:
            yield from map(function, items)
            return
        # Forked workers start at once and import nothing again; elsewhere than on Linux forking is not safe.
        context = get_context("fork" if sys.platform == "linux" else "spawn")
        pool = ProcessPoolExecutor(self.count, mp_context=context)
        try:
            yield from pool.map(function, items, chunksize=_CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
