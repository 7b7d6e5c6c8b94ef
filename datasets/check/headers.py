"""Picture files: there, readable and whole. These functions run in worker processes."""

from __future__ import annotations

import os
from pathlib import Path

from datasets.check.problems import Problem, Problems
from datasets.images import Header, read_header, read_picture

_TAIL = 64  # bytes
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"


def look_at_picture(path: Path, *, dataset: str, thorough: bool) -> Header | list[Problem]:
    """The header of a picture, or what is wrong with it.

    Unless `thorough`, pixels are decoded only where the file does not end as its format does. That finds
    every file that was cut off, but no damage in the middle.
    """
    problems = Problems(dataset=dataset)
    if not path.exists():
        problems.add("missing picture", path, "", "no such file", "add the picture, or remove its records")
        return problems.found
    with problems.guard("picture", path):
        header = read_header(path)
        if thorough or not ends_well(path):
            read_picture(path)
        return header
    return problems.found


def ends_well(path: Path) -> bool:
    """Whether the last bytes are the end mark of a PNG or a JPEG (which some cameras pad with zeros)."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _TAIL))
        tail = file.read()
    return tail.endswith(_PNG_END) or tail.rstrip(b"\0").endswith(_JPEG_END)
