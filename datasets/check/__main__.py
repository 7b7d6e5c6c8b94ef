"""python -m datasets.check: what a dataset folder holds, and what is wrong with it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.progress import Progress

from datasets.check.doctor import Diagnosis, examine
from datasets.check.pictures import PER_ROW, draw_sheet
from datasets.check.report import print_report, write_json
from datasets.check.shelf import Shelf
from datasets.check.work import Workers, cores
from datasets.tree import Tree
from lisa.flag_ranges import number_problems, refuse

if TYPE_CHECKING:
    from lisa.text_checks import TextChecker

PIPE_WIDTH = 120  # characters
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Say what is in a dataset folder, and everything that is wrong with it: file, record and mend.

    Exit code 0: no problem; 1: something is wrong; 2: the command line makes no sense. Notes do not count.
    """

    dataset_dir: Path = Path("data/synthetic")
    """Folder with the datasets, laid out as LISA's users have them."""
    elsewhere: str = ""
    """Folders of the tree that lie in another place, joined by ||, as in coco/train2017=/mnt/coco/train2017."""
    data: str = ""
    """Datasets or splits to look at, and to look for leaks between: "ade20k,refcoco|unc|train"; empty: all."""
    fix_none: Switch = False
    """Write nothing below dataset_dir, not even --pictures or --json. Nothing there is ever mended, flag or not."""
    pictures: Path | None = None
    """Picture file to draw: random samples of every split with masks, questions and answers."""
    json: Path | None = None
    """File to write counts, problems and notes to, for scripts."""
    all: Switch = False
    """Print every problem; otherwise the first five of each kind and a count."""
    thorough: Switch = False
    """Decode every picture, not only its header and end mark: finds some damage in the middle of files too."""
    model: str = ""
    """A model (folder, hub id, or "tiny") whose tokenizer and template are to read every text; empty: none is read."""
    seed: int = 0
    """Of the samples that are drawn: the same seed shows the same ones."""
    workers: int | None = None
    """Processes to use; all cores when left out."""

    def __post_init__(self) -> None:
        refuse(number_problems(self))
        for flag, path in (("--pictures", self.pictures), ("--json", self.json)):
            if path is None:
                continue
            if self.fix_none and path.resolve().is_relative_to(self.dataset_dir.resolve()):
                raise ValueError(f"{flag} {path} is below {self.dataset_dir}, where --fix-none allows no writing")
            if not path.resolve().parent.is_dir():
                raise ValueError(f"{flag} {path}: there is no folder {path.parent}; make it first")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}, but must be at least 1")

    @property
    def names(self) -> list[str]:
        """The datasets and splits of --data."""
        return [name.strip() for name in self.data.split(",") if name.strip()]


def main(args: list[str] | None = None) -> None:
    """Examine, report, and exit with 1 where something is wrong."""
    # Brackets in file names are no markup; a file or a pipe has no width to keep to.
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    try:
        flags = tyro.cli(Flags, args=args, prog="python -m datasets.check", use_underscores=True)
        diagnosis = _examine(flags)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print_report(console, diagnosis, everything=flags.all)
    if flags.json is not None:
        write_json(diagnosis, flags.json)
    if flags.pictures is not None and any(diagnosis.shelf.kept.values()):
        draw_sheet(diagnosis.shelf.kept, flags.pictures)
        console.print(f"samples: {flags.pictures}")
    if diagnosis.serious:
        raise SystemExit(1)


def _examine(flags: Flags) -> Diagnosis:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        workers = Workers(count=flags.workers or cores(), progress=progress)
        shelf = Shelf(per_row=PER_ROW, seed=flags.seed)
        tree = Tree.at(flags.dataset_dir, flags.elsewhere, None)
        checker = _checker(flags.model) if flags.model else None
        return examine(tree, flags.names, workers=workers, shelf=shelf, thorough=flags.thorough, checker=checker)


def _checker(model: str) -> TextChecker:
    """Reads texts as a model does; its weights are not loaded."""
    from lisa.text_checks import TextChecker, processor_of

    return TextChecker(processor_of(model))


if __name__ == "__main__":
    main()
