"""Ask an image in the browser:  python app.py  (--model, --port, --host; http://127.0.0.1:7860)"""

from __future__ import annotations

import tyro

from lisa.cli.exits import exit_with_sentence
from lisa.flag_ranges import check_command
from lisa.serve import ServeArgs, serve


def main(argv: list[str] | None = None) -> None:
    """Flags -> a server that runs until it is told to end."""
    args = tyro.cli(ServeArgs, args=argv, description=__doc__)
    check_command(args)
    serve(args)


if __name__ == "__main__":
    exit_with_sentence(main)
