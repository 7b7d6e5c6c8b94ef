"""What is asked about every image: the lines of a file of prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lisa.questions import checked_question

LONGEST_NAME = 40
"""Characters of a name."""

_NAMED = re.compile(r"(?P<name>[^:.,;?!]*):(?:\s+(?P<question>.*))?")
_MOST_WORDS = 3
_TAKEN = ("__ignore__", "_background_")
"""Labels that mean something else in LabelMe files: pixels that do not count, and what is not asked for."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A question, and what its masks are called."""

    question: str
    name: str
    """Category or label of the masks; the question itself where the file gives no name."""


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, one on each line; ValueError tells all that is wrong with it.

    A line is `name: question` or a question; blank lines and those that begin with # are left out. What stands before
    the first colon is a name when a blank follows the colon and it has at most three words, 40 characters and none of
    . , ; ? ! in it. A line that begins with a colon is a question from there on, whatever colons it has.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--prompts {path}: there is no such file; write one question per line into it")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--prompts {path}: not UTF-8 ({error}); save it as UTF-8") from error
    prompts: list[Prompt] = []
    problems = list(_read_into(prompts, lines))
    if problems:
        raise ValueError("\n".join(f"--prompts {path}: {problem}" for problem in problems))
    if not prompts:
        raise ValueError(f"--prompts {path}: holds no question; write one per line")
    return prompts


def _read_into(prompts: list[Prompt], lines: list[str]) -> Iterator[str]:
    """Append the prompts of the lines; what is wrong with a line is yielded."""
    asked: dict[str, int] = {}
    called: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            prompt = parse_prompt(line)
        except ValueError as error:
            yield f"line {number}: {error}"
            continue
        if (first := asked.setdefault(prompt.question, number)) != number:
            yield f"line {number} asks again what line {first} asks; remove it"
        elif (first := called.setdefault(prompt.name, number)) != number:
            yield f"line {number} has the name {prompt.name!r}, as line {first} has; give it another"
        prompts.append(prompt)


def parse_prompt(line: str) -> Prompt:
    """The prompt of a line; ValueError says what is wrong with it."""
    line = line.strip()
    if line.startswith(":"):
        question = checked_question(line[1:])
        return Prompt(question=question, name=question)
    named = _NAMED.fullmatch(line)
    name = named["name"].strip() if named else ""
    if not name or len(name) > LONGEST_NAME or len(name.split()) > _MOST_WORDS:
        question = checked_question(line)
        return Prompt(question=question, name=question)
    if name in _TAKEN:
        raise ValueError(f"{name} has a meaning of its own in LabelMe files; choose another name")
    return Prompt(question=checked_question(named["question"] or ""), name=checked_question(name))
