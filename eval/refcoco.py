"""Score a model on refCOCO, refCOCO+, refCOCOg or refCLEF: `python eval/refcoco.py`.

Without flags: the kept tiny model on the held-out splits of the synthetic world.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: the checkout comes first, so that `datasets` is ours
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eval.cli import EvalFlags, parse_flags, run
from lisa.cli.exits import exit_with_sentence

DEFAULT_DATA = ("refcoco|unc|val", "refcoco|unc|testA", "refcoco|unc|testB", "refcoco|unc|composition")


def main(argv: Sequence[str] | None = None) -> dict:
    """Evaluate with the flags in `argv` (the command line's when None) and return the report."""
    return run(parse_flags(__doc__, EvalFlags(data=DEFAULT_DATA), argv))


if __name__ == "__main__":
    exit_with_sentence(main)
