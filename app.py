"""Ask a picture in the browser:  python app.py  (--model, --port, --host; http://127.0.0.1:7860)"""

from __future__ import annotations

import sys

import tyro

from lisa.serve import ServeArgs, serve


def main(argv: list[str] | None = None) -> None:
    """Flags -> a server that runs until it is told to end."""
    serve(tyro.cli(ServeArgs, args=argv, description=__doc__))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
