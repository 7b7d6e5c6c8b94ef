"""`lisa annotate`: the same questions about every image of a folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lisa.cli.flags import ModelFlags

if TYPE_CHECKING:
    from collections.abc import Callable

    from lisa.annotation.job import Summary
    from lisa.annotation.listing import Listing
    from lisa.annotation.plan import Plan
    from lisa.annotation.prompts import Prompt
    from lisa.annotation.written import Written
    from lisa.api import Lisa

SOME_BAD = 3
"""Exit code when images could not be used."""

SECONDS_BETWEEN_LINES = 10
"""Progress of a job whose stderr is a file."""


@dataclass(frozen=True, kw_only=True)
class Annotate(ModelFlags):
    """Ask the same questions about every image of a folder, and write the masks in a format of your choice.

    A job that was killed goes on where it was when the same command is given again; the result is the same, byte for
    byte. Images that cannot be used are listed in bad_files.txt; the exit code is 3 then.

    lisa annotate photos --prompts prompts.txt --format coco --out annotated

    lisa annotate photos --prompts prompts.txt --format labelme --out photos --batch-size 32 --device cuda
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The images, in this folder and those below it; links to folders are followed."""
    prompts: Path
    """Text file with one prompt per line, `name: question` or a question; lines that begin with # are left out."""
    out: Path
    """Folder for the result, new or of the same job; for labelme also FOLDER, as it looks beside the images."""
    format: Literal["coco", "labelme", "png", "jsonl"] = "coco"
    """coco: instances, a category per prompt; labelme: a file per image; png: a file per mask; jsonl: masks in lines.
    train_ds.py --own_data reads all of them."""
    batch_size: int = 16
    """Questions that are answered together; fewer need less memory."""
    fresh: bool = False
    """Begin anew, whatever was done before in --out; files that no job wrote, or that changed since, stay."""
    json: bool = False
    """Print a summary as JSON: pictures, masks, bad, written."""

    def problems(self) -> Iterator[str]:
        """What is wrong with the files and folders, by their names alone."""
        if not self.folder.is_dir():
            yield f"{self.folder}: there is no such folder of pictures"
        if not self.prompts.is_file():
            yield f"--prompts {self.prompts}: there is no such file; write one question per line into it"
        if self.out.exists() and not self.out.is_dir():
            yield f"--out {self.out} is a file; name a folder"

    def run(self) -> int:
        """Do the job, or what is left of it."""
        from lisa.annotation.listing import list_images
        from lisa.annotation.plan import begin
        from lisa.annotation.prompts import read_prompts

        # What is wrong with these is told before the model loads.
        prompts, listing = read_prompts(self.prompts), list_images(self.folder, self.out)
        lisa = self.load()
        plan = self._plan(lisa, prompts, listing)
        written, changed = begin(plan, self.folder, self.out, self.fresh)
        self._tell(plan, listing, changed)
        try:
            summary = self._annotate(lisa, plan, written)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            raise
        self._report(summary)
        return SOME_BAD if summary.bad else 0

    def _plan(self, lisa: Lisa, prompts: list[Prompt], listing: Listing) -> Plan:
        from lisa.annotation.plan import Plan, refuse_clashes, split_by_format
        from lisa.checkpoint import find_model

        self._check(lisa, prompts)
        folder = find_model(self.model)
        changed = max(path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file())
        images, unusable = split_by_format(listing.images, self.out, self.format)
        plan = Plan(
            images=images,
            unusable=sorted(listing.unusable + unusable),
            prompts=prompts,
            format=self.format,
            model=f"{lisa!r} {self.quantize} {changed}",
            batch_size=self.batch_size,
            max_new_tokens=self.max_new_tokens,
        )
        refuse_clashes(plan)
        return plan

    def _check(self, lisa: Lisa, prompts: list[Prompt]) -> None:
        """ValueError names every prompt that this model cannot be asked."""
        problems = []
        for prompt in prompts:
            try:
                lisa.check(prompt.question)
            except ValueError as error:
                problems.append(f"--prompts {self.prompts}: {prompt.question!r:.60}: {error}")
        if problems:
            raise ValueError("\n".join(problems))

    def _tell(self, plan: Plan, listing: Listing, changed: list[str]) -> None:
        """How the prompts are read, and what is left out or left alone."""
        for prompt in plan.prompts:
            if prompt.name != prompt.question:
                print(f"masks of {prompt.question!r} are called {prompt.name!r}", file=sys.stderr)
        for reason, number in listing.left_out.items():
            print(f"left out: {number} x {reason}", file=sys.stderr)
        if changed:
            print(f"left alone, since changed by hand: {', '.join(changed)}", file=sys.stderr)

    def _annotate(self, lisa: Lisa, plan: Plan, written: Written) -> Summary:
        from lisa.annotation.job import annotate, left_to_do

        left = sum(len(names) for _, names in left_to_do(plan, written.work))
        with _progress(len(plan.images), left) as advance:
            return annotate(lisa, plan, self.folder, written, advance)

    def _report(self, summary: Summary) -> None:
        if self.json:
            print(json.dumps(asdict(summary), ensure_ascii=False))
        else:
            print(f"{summary.pictures} images, {summary.masks} masks: {summary.written}")
        if summary.bad:
            print(f"{summary.bad} could not be used: {self.out / 'bad_files.txt'}", file=sys.stderr)


@contextmanager
def _progress(total: int, left: int) -> Iterator[Callable[[int], None]]:
    """Progress with the time left, on stderr: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import TextColumn

    from lisa.progress import progress_bar

    if not Console(stderr=True).is_terminal:
        yield _Lines(total, left)
        return
    with progress_bar(TextColumn("left")) as bar:
        task = bar.add_task("images", total=total, completed=total - left)
        yield lambda number: bar.advance(task, number)


class _Lines:
    """Progress in a log file."""

    def __init__(self, total: int, left: int) -> None:
        self.total, self.left, self.done = total, left, 0
        self.started = self.said = time.monotonic()

    def __call__(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        if now - self.said < SECONDS_BETWEEN_LINES and self.done < self.left:
            return
        self.said = now
        remaining = (self.left - self.done) * (now - self.started) / self.done
        print(f"{self.total - self.left + self.done} of {self.total} images, {remaining:.0f} s left", file=sys.stderr)
