"""Score a model on data of your own (docs/own-data.md): `python eval/own.py --data my.jsonl`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # run as a file: the checkout comes first, so that `datasets` is ours
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eval.cli import EvalFlags, parse_flags, run
from lisa.cli.exits import exit_with_sentence


def main(argv: Sequence[str] | None = None) -> dict:
    """Evaluate on the paths that --data names and return the report; --dataset_dir is not used."""
    flags = parse_flags(__doc__, EvalFlags(data=(), dataset_dir=Path()), argv)
    return run(replace(flags, data=tuple(f"own|{source.removeprefix('own|')}" for source in flags.data)))


if __name__ == "__main__":
    exit_with_sentence(main)
