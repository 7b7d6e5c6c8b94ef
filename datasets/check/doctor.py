"""Finds the datasets of a folder and visits each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datasets.check.parts import check_paco_lvis, check_pascal_part
from datasets.check.problems import Problem
from datasets.check.reasoning import check_reason_seg
from datasets.check.referring import check_refer
from datasets.check.semantic import check_ade20k, check_cocostuff, check_mapillary
from datasets.check.shelf import Shelf
from datasets.check.talking import check_vqa
from datasets.check.tally import Tally
from datasets.check.visit import Visit
from datasets.check.work import Workers
from datasets.files import SYNTHETIC_HINT
from datasets.refer import REFER_LAYOUTS
from datasets.tree import Tree
from lisa.image_files import list_folder

Check = Callable[[Visit], None]

# Dataset -> folder that shows that it is there, and its check.
_FIXED: dict[str, tuple[str, Check]] = {
    "ade20k": ("ade20k", check_ade20k),
    "cocostuff": ("cocostuff", check_cocostuff),
    "mapillary": ("mapillary", check_mapillary),
    "paco_lvis": ("vlpart/paco", check_paco_lvis),
    "pascal_part": ("vlpart/pascal_part", check_pascal_part),
} | {name: (f"refer_seg/{name}", check_refer) for name in REFER_LAYOUTS}
_DEFAULT_VQA = "llava_instruct_150k"
_DEFAULT_REASON = "ReasonSeg"


@dataclass(kw_only=True)
class Diagnosis:
    """What the doctor found in a dataset folder."""

    root: Path
    rows: dict[str, Tally] = field(default_factory=dict)  # by dataset and split, e.g. "refcoco|unc|train"
    problems: list[Problem] = field(default_factory=list)
    shelf: Shelf

    @property
    def serious(self) -> list[Problem]:
        """What has to be mended."""
        return [problem for problem in self.problems if problem.serious]

    @property
    def notes(self) -> list[Problem]:
        """What is worth knowing."""
        return [problem for problem in self.problems if not problem.serious]


def examine(
    place: Path | Tree, data: list[str], *, workers: Workers, shelf: Shelf, thorough: bool = False
) -> Diagnosis:
    """Look at the datasets named in `data` ("refcoco", "refcoco|unc|val"), or at all that are there.

    ValueError for a folder that is not there or holds no dataset, and for names that are not known.
    """
    tree = Tree.of(place)
    root = tree.root
    if not root.is_dir():
        raise ValueError(f"--dataset_dir {root}: no such folder; {SYNTHETIC_HINT}")
    checks = _choose(tree, data)
    diagnosis = Diagnosis(root=root, shelf=shelf)
    seen: dict = {}
    visits = []
    for name, check in checks.items():
        visit = Visit(
            tree=tree,
            dataset=name,
            wants=partial(_wants, data),
            workers=workers,
            shelf=shelf,
            thorough=thorough,
            seen=seen,
        )
        with visit.problems.guard("dataset", root, name):
            check(visit)
        _report_unmatched(visit, data)
        visits.append(visit)
    _note_shared_pictures(visits)
    for visit in visits:
        diagnosis.rows |= visit.rows
        diagnosis.problems += visit.problems.found
    return diagnosis


def _choose(tree: Tree, data: list[str]) -> dict[str, Check]:
    """The checks to run, in a fixed order."""
    there = {name: check for name, (folder, check) in _FIXED.items() if (tree / folder).exists()}
    vqa = {path.stem: check_vqa for path in list_folder(tree / "llava_dataset", ".json")}
    reason = {path.name: check_reason_seg for path in list_folder(tree / "reason_seg") if path.is_dir()}
    there |= vqa | reason
    if not data:
        if not there:
            raise ValueError(f"--dataset_dir {tree.root}: holds no dataset that LISA knows; {SYNTHETIC_HINT}")
        return there
    known = {name: check for name, (_, check) in _FIXED.items()}
    known |= {_DEFAULT_VQA: check_vqa, _DEFAULT_REASON: check_reason_seg} | there
    names = [spec.split("|")[0] for spec in data]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--data: no dataset is called {unknown[0]!r}; known: {', '.join(known)}")
    return {name: check for name, check in known.items() if name in names}


def _wants(data: list[str], name: str) -> bool:
    """Whether `name` was asked for, or is a part of what was, or holds it."""
    return not data or any(spec == name or name.startswith(f"{spec}|") or spec.startswith(f"{name}|") for spec in data)


def _report_unmatched(visit: Visit, data: list[str]) -> None:
    """Splits that were asked for, but are not there."""
    for spec in data:
        if spec.split("|")[0] == visit.dataset and not any(_wants([spec], row) for row in visit.rows):
            mend = f"there are: {', '.join(visit.rows) or 'none'}"
            visit.problems.add("layout", visit.root, spec, "nothing of it could be read", mend)


def _note_shared_pictures(visits: list[Visit]) -> None:
    """A note where pictures that one refer dataset trains on are evaluated by another.

    The official files overlap in this way, so it is not wrong; but who trains on both should know.
    """
    pictures = {(visit.dataset, row): paths for visit in visits for row, paths in visit.pictures.items()}
    problems = {visit.dataset: visit.problems for visit in visits}
    for (trained, train_row), ours in pictures.items():
        for (tested, row), theirs in pictures.items():
            shared = ours & theirs
            if trained != tested and train_row.endswith("|train") and not row.endswith("|train") and shared:
                what = f"{len(shared)} of its {len(theirs)} pictures are also in {train_row}"
                mend = "do not train on the one to report numbers on the other"
                problems[tested].note("shared pictures", visits[0].tree / f"refer_seg/{tested}", row, what, mend)
