"""Ask questions about a picture in a terminal; answers come with masks.

One question:  python chat.py --image x.jpg --prompt "Which of these would float?" --out out/
A talk:        python chat.py --image x.jpg      (/image PATH, /reset, /quit; what was said is remembered)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the checkout's `lisa` comes before an installed one

import tyro

from lisa.cli.chat import ChatArgs
from lisa.cli.exits import exit_with_sentence
from lisa.cli.flags import run_checked


def main(argv: list[str] | None = None) -> int:
    """Flags -> one answer, or a loop."""
    return run_checked(tyro.cli(ChatArgs, args=argv, description=__doc__))


if __name__ == "__main__":
    exit_with_sentence(main)
