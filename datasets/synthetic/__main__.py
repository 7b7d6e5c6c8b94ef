"""python -m datasets.synthetic: render the drawn world."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from datasets.synthetic.render import WORLD_FILE, Arguments, is_whole, render_world


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Render a small drawn world in every official format that LISA trains and evaluates on.

    ADE20K, COCO-Stuff, Mapillary Vistas, PACO-LVIS, Pascal-Part; refCLEF, refCOCO, refCOCO+, refCOCOg, gRefCOCO;
    LLaVA-Instruct; ReasonSeg.
    """

    out: Path = Path("data/synthetic")
    """Folder to write; it must not hold anything else."""
    images: int = 3000
    """Number of pictures, at least 5; four fifths of them are for training."""
    seed: int = 0
    """The same seed gives the same files, byte for byte."""
    workers: int | None = None
    """Processes to use; all cores when left out."""


def main(args: list[str] | None = None) -> None:
    """Render, or say that it is done already; what a user can mend ends with a sentence and exit code 2."""
    flags = tyro.cli(Flags, args=args, prog="python -m datasets.synthetic")
    try:
        done = is_whole(flags.out, Arguments(images=flags.images, seed=flags.seed))
        out = render_world(flags.out, flags.images, flags.seed, flags.workers)
    except (ValueError, FileExistsError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    if done:
        print(f"{out} is there already, with the same arguments; nothing to do")
        return
    refcoco = json.loads((out / WORLD_FILE).read_text())["counts"]["refcoco"]
    print(f"{out}: {flags.images} pictures")
    for split, counts in refcoco.items():
        print(
            f"  {split}: {counts['images']} images, {counts['refs']} refs, {counts['sentences']} sentences, "
            f"{counts['share_needing_place_size_or_relation']:.0%} need place, size or relation, "
            f"{counts['share_with_distractor']:.0%} have a thing of the same class or colour beside them"
        )


if __name__ == "__main__":
    main()
