"""Reasoning segmentation: ask pictures questions, get words with a mask for everything they point at.

Each command has its own --help, with examples. Exit codes: 0 done, 2 refused with a sentence, 3 some pictures of an
annotation could not be read, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import tyro

from lisa.cli.annotate import Annotate
from lisa.cli.ask import Ask
from lisa.cli.chat import ChatArgs
from lisa.cli.doctor import Doctor
from lisa.cli.exits import exit_with_sentence
from lisa.cli.info import Info
from lisa.cli.serve import Serve
from lisa.convert import ConvertArgs

Command = (
    Annotated[Ask, tyro.conf.subcommand("ask")]
    | Annotated[ChatArgs, tyro.conf.subcommand("chat")]
    | Annotated[Annotate, tyro.conf.subcommand("annotate")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[ConvertArgs, tyro.conf.subcommand("convert")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Flags -> what the command does; returns the exit code."""
    command = tyro.cli(Command, args=argv, prog="lisa", description=__doc__)
    return command.run()


def run() -> None:
    """The script `lisa`."""
    exit_with_sentence(main)
