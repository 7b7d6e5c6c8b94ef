"""Picture files: there, readable and whole. These functions run in worker processes."""

from __future__ import annotations

from pathlib import Path

from datasets.check.problems import Problem, Problems
from datasets.images import Header, check_picture, read_picture


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
        header = check_picture(path)
        if thorough:
            read_picture(path)
        return header
    return problems.found
