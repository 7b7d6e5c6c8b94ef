"""Processes that train together end together: one of them says why, the others end with its exit code."""

from __future__ import annotations

import json
import os
import threading
import time
from types import TracebackType
from typing import Literal

import torch.distributed as dist

from lisa.extras import MissingPackageError

POLL = 0.25
"""Seconds between looks at the store."""
PATIENCE = 1.0
"""Seconds that a process has to end by itself after another one told its end."""
LAST_WORD = 1.5
"""Seconds more that the first process stays, as the others read from the store that it may hold."""
USER_ERROR, LOST = 2, 1

Role = Literal["launched", "parent", "child"]


class SharedEnd:
    """Around the work of one of several processes that have a store (dist.TCPStore) in common.

    A sentence that ends one of them is told once: by the process that it arose in where a launcher started them, by
    the parent where that started the others. A process that waits for one that is gone, even in a call that nothing
    can interrupt, is ended by a thread.
    """

    def __init__(self, host: str, port: int, role: Role) -> None:
        self.role, self.rank = role, int(os.environ["RANK"])
        self.store = dist.TCPStore(host, port, is_master=False)
        self.key = _key()
        self.patience = PATIENCE + LAST_WORD * (self.rank == 0) + 10 * (role == "parent")
        self.done = threading.Event()

    def __enter__(self) -> SharedEnd:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.done.set()
        if error is None or (self.role == "parent" and isinstance(error, RuntimeError)):
            return
        lost = isinstance(error, RuntimeError) and _is_lost_connection(error)
        if lost:
            time.sleep(PATIENCE)  # whoever is gone may have said why
        code, text = _end_of(error)
        try:
            end = json.loads(self.store.compare_set(self.key, "", json.dumps([self.rank, code, text])))
        except RuntimeError:  # the store is gone with the first process, and nobody can be asked
            end = [self.rank, code, text]
        if end[0] == 0 == self.rank and self.role == "launched":
            time.sleep(LAST_WORD)
        if isinstance(error, SystemExit):
            return
        if end[0] != self.rank or (self.role == "child" and text):
            raise SystemExit(end[1]) from None
        if lost:
            raise ChildProcessError(text) from None

    def _watch(self) -> None:
        while not self.done.wait(POLL):
            try:
                told = self.store.check([self.key])
                end = json.loads(self.store.get(self.key)) if told else None
            except RuntimeError:
                end = [0, LOST, ""]
            if end and not self.done.wait(self.patience):
                if self.role == "parent" and end[2]:
                    os.write(2, f"error: {end[2]}\n".encode())
                os._exit(end[1])


def told_end(store: dist.Store) -> str:
    """The sentence with which one of the processes ended; "" when none told one."""
    return json.loads(store.get(_key()))[2] if store.check([_key()]) else ""


def _key() -> str:
    """Another one after each restart by torchrun, whose store outlives the processes."""
    return f"lisa/end/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"


def _end_of(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence; "" where the process itself tells more, or nothing is to be told."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else LOST, ""
    if isinstance(error, ValueError | OSError | MissingPackageError):
        return USER_ERROR, str(error)
    if isinstance(error, RuntimeError) and _is_lost_connection(error):
        return (
            USER_ERROR,
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} lost its connection to the others: one of "
            "them was killed (out of memory?) or its machine is gone; --resume goes on from the last checkpoint",
        )
    return LOST, ""


def _is_lost_connection(error: RuntimeError) -> bool:
    """gloo has no error of its own; NCCL's are DistErrors."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
