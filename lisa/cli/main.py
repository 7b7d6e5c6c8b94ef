"""Reasoning segmentation: ask pictures questions, get words with a mask for everything they point at.

Each command has its own --help, with examples. Exit codes: 0 done, 1 the doctor misses something, 2 refused with a
sentence, 3 some pictures of `annotate` could not be used, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Union

import tyro

from lisa.cli.annotate import Annotate
from lisa.cli.ask import Ask
from lisa.cli.chat import ChatArgs
from lisa.cli.doctor import Doctor
from lisa.cli.exits import exit_with_sentence
from lisa.cli.flags import run_checked
from lisa.cli.info import Info
from lisa.cli.serve import Serve
from lisa.convert import ConvertArgs

COMMANDS = {
    "ask": Ask,
    "chat": ChatArgs,
    "annotate": Annotate,
    "serve": Serve,
    "convert": ConvertArgs,
    "info": Info,
    "doctor": Doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Flags -> what the command does; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return run_checked(tyro.cli(COMMANDS[words[0]], args=words[1:], prog=f"lisa {words[0]}"))
    # Help, or what is wrong: all commands with the first line about each.
    overview = Union[  # noqa: UP007 - of a tuple
        tuple(
            Annotated[command, tyro.conf.subcommand(name, description=command.__doc__.splitlines()[0])]
            for name, command in COMMANDS.items()
        )
    ]
    return run_checked(tyro.cli(overview, args=words or ["--help"], prog="lisa", description=__doc__))


def run() -> None:
    """The script `lisa`."""
    exit_with_sentence(main)
