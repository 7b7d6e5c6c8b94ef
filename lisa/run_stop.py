"""SIGTERM and SIGINT: a run finishes its step, saves a checkpoint and ends with an exit code of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

STOPPED = 75
"""Exit code of a run that a signal stopped and that --resume continues: EX_TEMPFAIL of sysexits.h."""
SAME = 1.0
"""Seconds in which signals count as one: a terminal and a launcher may both pass on the same."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class RunStopped(SystemExit):
    """A signal ended the run; everything up to the last step is in a checkpoint."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


class StopSignals:
    """Notes SIGTERM and SIGINT while it is entered; a second one ends the process at once, as without it.

    Inside `step()` the first one is only noted; elsewhere it raises RunStopped there and then. In a thread that is not
    the main one nothing is caught.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._asked_at, self._in_step, self._parent = 0.0, False, os.getppid()
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around what is to be finished, a step or a checkpoint; whoever enters asks `asked` afterwards."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    def _note(self, number: int, frame: object) -> None:
        if os.getppid() != self._parent:  # the process that started this one is gone, and torch tells
            os._exit(128 + number)
        now, name = time.monotonic(), signal.Signals(number).name
        if self.asked is None:
            self.asked, self._asked_at = signal.Signals(number), now
            if self._in_step:
                _say(f"{name}: the run stops after this step, with a checkpoint; a second signal ends it at once")
            else:
                _say(f"stopped by {name}; the same command with --resume goes on from the last checkpoint")
                raise RunStopped
        elif now - self._asked_at > SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def end_with(loader: int, worker: int = 0) -> None:
    """For a process that prepares data for the process `loader`: only a signal of that one ends it.

    A terminal or a scheduler may send its signal to all, and the data is needed until the step is done.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    tell = sys.excepthook

    def tell_unless_alone(kind: type, error: BaseException, trace: object) -> None:
        if not issubclass(kind, ConnectionError):  # the process that it serves was killed while it took data
            tell(kind, error, trace)

    sys.excepthook = tell_unless_alone

    def wait() -> None:
        while signal.sigwaitinfo(SIGNALS).si_pid != loader:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _say(sentence: str) -> None:
    """Of all processes of the run, the first tells; a handler may not print, as it may interrupt a print."""
    if int(os.environ.get("RANK", 0)) == 0:
        os.write(2, f"{sentence}\n".encode())
