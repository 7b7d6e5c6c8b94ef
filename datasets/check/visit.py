"""One look at one dataset: what the doctor takes along and brings back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets.check.headers import look_at_picture
from datasets.check.problems import Problem, Problems
from datasets.check.shelf import Shelf
from datasets.check.tally import Tally
from datasets.check.texts import Texts
from datasets.check.work import Workers
from datasets.files import open_json
from datasets.images import Header
from datasets.tree import Tree


@dataclass(kw_only=True)
class Visit:
    """The examination of one dataset, e.g. "refcoco"; its rows are splits, e.g. "refcoco|unc|train"."""

    tree: Tree  # the dataset folder, and what lies elsewhere
    dataset: str
    wants: Callable[[str], bool]  # whether a row was asked for
    workers: Workers
    shelf: Shelf
    thorough: bool  # decode every picture
    texts: Texts  # what a model is to read
    seen: dict[Path, Header | list[Problem]]  # pictures that were looked at, also for other datasets
    rows: dict[str, Tally] = field(default_factory=dict)
    pictures: dict[str, set[Path]] = field(default_factory=dict)  # of the rows that other datasets may share
    problems: Problems = field(init=False)

    def __post_init__(self) -> None:
        self.problems = Problems(dataset=self.dataset)

    @property
    def root(self) -> Path:
        """The dataset folder."""
        return self.tree.root

    def row(self, name: str) -> Tally:
        """The counts of a split."""
        return self.rows.setdefault(name, Tally())

    def folder(self, relative: str) -> Path | None:
        """A folder that the dataset needs; None, and a problem, where it is not there."""
        path = self.tree / relative
        if path.is_dir():
            return path
        self.problems.add(
            "layout", path, "", "not found", f"put the files of {self.dataset} there, or leave the dataset out"
        )
        return None

    def json(self, path: Path) -> Any:
        """The content of a JSON file; None, and a problem, where it cannot be read."""
        if not path.is_file():
            self.problems.add("layout", path, "", "not found", f"put the file of {self.dataset} there")
            return None
        with self.problems.guard("json", path):
            content = open_json(path)
            self.note_encoding(path)
            return content
        return None

    def note_encoding(self, path: Path) -> None:
        """A note where a JSON file is not UTF-8."""
        try:
            path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            what = "not in UTF-8; read as cp1252, as the reference does"
            self.problems.note("encoding", path, "", what, "save it in UTF-8 if a letter looks wrong")

    def headers(self, mentions: dict[Path, str]) -> dict[Path, Header]:
        """The headers of the pictures that can be read; `mentions` says which record names each of them.

        The others become problems. A picture of several datasets is looked at once and reported for each.
        """
        new = [path for path in mentions if path not in self.seen]
        look = partial(look_at_picture, dataset=self.dataset, thorough=self.thorough)
        self.seen.update(zip(new, self.workers.map(look, new, f"{self.dataset}: pictures"), strict=True))
        headers = {}
        for path, mention in mentions.items():
            outcome = self.seen[path]
            if isinstance(outcome, Header):
                headers[path] = outcome
                continue
            for problem in outcome:
                self.problems.add(problem.kind, path, mention, problem.what, problem.mend)
        return headers
