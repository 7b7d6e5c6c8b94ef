"""One run at a time in a folder, on any of the machines that see it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LOCK = "run.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks say."""

_held: set[Path] = set()
"""Folders that this process holds: a lock of POSIX does not keep its own process out."""


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs; ValueError names who holds it already.

    The lock is POSIX's, which NFS passes on to its server, and which ends with this process however that ends; forked
    children do not inherit it. `folder/run.lock` says who held it last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / LOCK).resolve()
    if path in _held:
        raise ValueError(f"{folder} is in use by this very process; --exp_name gives a run a folder of its own")
    file = path.open("a+", encoding="utf-8")  # never opened a second time in this process: closing it would unlock
    try:
        _lock(file, folder)
        _held.add(path)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}) + "\n")
        file.flush()
        yield
    finally:
        _held.discard(path)
        file.close()


def _lock(file, folder: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            print(
                f"note: the file system of {folder} has no locks; nothing keeps another run out of this folder",
                flush=True,
            )
            return
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise ValueError(
            f"{folder} is in use by another run ({_holder(file)}): wait for it, or give this run a folder of its own "
            "with --exp_name"
        ) from None


def _holder(file) -> str:
    file.seek(0)
    try:
        said = json.loads(file.read())
        return f"process {said['pid']} on {said['host']}, since {said['since']}"
    except (ValueError, KeyError, TypeError):  # it is about to write who it is
        return "which has just begun"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")
