"""Text files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


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
