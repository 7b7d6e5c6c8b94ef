"""Ask an image in the browser:  python app.py  (--model, --port, --host; http://127.0.0.1:7860)"""

from __future__ import annotations

import tyro

from lisa.cli.exits import exit_with_sentence
from lisa.serve import ServeArgs, serve


def main(argv: list[str] | None = None) -> None:
    """Flags -> a server that runs until it is told to end."""
    serve(tyro.cli(ServeArgs, args=argv, description=__doc__))


if __name__ == "__main__":
    exit_with_sentence(main)
