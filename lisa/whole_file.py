"""Text files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, a limit on the size of files."""
FULL_IN_WORDS = ("file write failed", "os error 28", "os error 27", "unexpected pos", "iostream error")
"""What torch's and safetensors' writers say of the same."""


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file to write to (UTF-8), which appears under its name only when the block has ended without an error.

    Then it is on the disk, and what had that name is gone. What an error leaves is called `PATH.partial`.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_whole(path: Path, text: str) -> None:
    """The text as a file, in one step."""
    with whole_file(path) as file:
        file.write(text)


@contextmanager
def told_if_full(path: Path, mend: str) -> Iterator[None]:
    """Around writing `path`: a disk that cannot take it is an OSError whose sentence ends with `mend`."""
    try:
        yield
    except Exception as error:
        words = str(error)
        number = getattr(error, "errno", None)
        if number not in FULL and not any(sign in words for sign in FULL_IN_WORDS):
            raise
        reason = os.strerror(number) if number in FULL else "the disk is full, or a limit on the size of files reached"
        free = shutil.disk_usage(_existing(path)).free / 2**30
        raise OSError(f"{path} could not be written ({reason}; {free:.2f} GiB are free there); {mend}") from None


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
