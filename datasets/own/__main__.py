"""Read data of your own as training would, every picture and mask: `python -m datasets.own my.jsonl`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.collected import Collected
from datasets.own.family import FORMATS, open_own
from datasets.sample import SampleOptions


def main(sources: Sequence[str]) -> int:
    """Tell what each source holds; 0 when all is well, 1 when one of them has a problem, 2 without a source."""
    if not sources or any(source.startswith("-") for source in sources):
        print(f"usage: python -m datasets.own SOURCE...  where SOURCE is one of\n{FORMATS}")
        return 2
    code = 0
    for source in sources:
        try:
            print(describe(source))
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
    return code


def describe(source: str) -> str:
    """One line about a source, all of whose pictures and masks are decoded for it."""
    data = open_own(Path(), source, SampleOptions(num_classes_per_sample=sys.maxsize))
    conversations, shares, problems = 0, [], Collected()
    for index in range(len(data)):
        with problems.guard():
            sample = data.sample(index, np.random.default_rng(0))
            conversations += len(sample.conversations)
            shares += [float(mask.mean()) for mask in sample.masks]
    problems.refuse(source)
    empty = sum(share == 0 for share in shares)
    area = f", {100 * np.mean(shares):.1f} % of the picture on average, {empty} empty" if shares else ""
    return f"{source}: {len(data)} pictures, {conversations} conversations, {len(shares)} masks{area}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
