"""What flags name: datasets, splits, folders. Looked up before anything is read, so that all that is wrong is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from datasets.files import SYNTHETIC_HINT
from datasets.label_maps import LABEL_MAPS
from datasets.mixture import FAMILIES
from datasets.own.family import FORMATS, find_source
from datasets.part_seg import PART_SETS
from datasets.refer import REFER_LAYOUTS
from datasets.tree import SEPARATOR, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDERS = {
    "ade20k": "ade20k",
    "cocostuff": "cocostuff",
    "mapillary": "mapillary",
    "paco_lvis": "vlpart/paco",
    "pascal_part": "vlpart/pascal_part",
} | {name: f"refer_seg/{name}" for name in REFER_LAYOUTS}
"""Dataset -> the folder that shows that it is there."""


class DataFlags(Protocol):
    """Flags that name training data, as those of train_ds.py."""

    dataset: str
    sample_rates: str
    sem_seg_data: str
    refer_seg_data: str
    vqa_data: str
    reason_seg_data: str
    own_data: str
    val_dataset: str
    no_eval: bool
    dataset_dir: Path
    elsewhere: str


def training_problems(flags: DataFlags, world: Path) -> list[str]:
    """All that is wrong with the names of training data; `world` is the folder that is rendered on first use."""
    families = flags.dataset.split(SEPARATOR)
    specs = [] if flags.no_eval else flags.val_dataset.split(SEPARATOR)
    problems = list(_family_problems(flags))
    tree, tree_problems = open_tree(flags.dataset_dir, flags.elsewhere, world)
    if needs_tree(families, specs):
        problems += tree_problems
    else:
        tree = None
    for family in drawn_families(flags):
        names = getattr(flags, f"{family}_data").split(SEPARATOR)
        for name in names:
            problems += [f"--{family}_data: {problem}" for problem in _LOOK[family](tree, name)]
    return problems + validation_problems("--val_dataset", tree, specs)


def needs_tree(families: Sequence[str], specs: Sequence[str]) -> bool:
    """Whether anything but own data is named."""
    return list(families) != ["own"] or not all(spec.startswith("own|") for spec in specs)


def drawn_families(flags: DataFlags) -> list[str]:
    """The known families that are drawn at all."""
    families = flags.dataset.split(SEPARATOR)
    rates = flags.sample_rates.split(",")
    rates = rates if len(rates) == len(families) > 1 else ["1"] * len(families)
    return [family for family, rate in zip(families, rates, strict=True) if family in FAMILIES and not _is_zero(rate)]


def _is_zero(rate: str) -> bool:
    try:
        return float(rate) == 0
    except ValueError:
        return False


def open_tree(root: Path, elsewhere: str, world: Path) -> tuple[Tree | None, list[str]]:
    """The tree of flags, and what is wrong with them; no tree where it is still to be rendered or is not there."""
    problems = []
    for entry in filter(None, elsewhere.split(SEPARATOR)):
        try:
            Tree.at(root, entry, None)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if root == world:
        return None, problems
    if not root.is_dir():
        return None, [*problems, f"--dataset_dir {root}: there is no such folder; {SYNTHETIC_HINT}"]
    if problems:
        return None, problems
    try:
        return Tree.at(root, elsewhere, None), []
    except ValueError as error:  # a folder that is named twice
        return None, [str(error)]


def validation_problems(flag: str, tree: Tree | None, specs: Sequence[str]) -> list[str]:
    """What is wrong with the names of validation sets; without a tree, folders are not looked for."""
    return [f"{flag} {spec!r}: {problem}" for spec in specs for problem in _spec_problems(tree, spec)]


def _spec_problems(tree: Tree | None, spec: str) -> Iterator[str]:
    match spec.split("|"):
        case ["own", *source] if source:
            yield from _own(tree, "|".join(source))
        case [name, _, split]:
            yield from _refer(tree, name)
            if not split:
                yield "names no split; write it as in refcoco|unc|val"
        case [name, _] if name in REFER_LAYOUTS:
            yield f"names no split; write it as in {name}|{REFER_LAYOUTS[name].split_by}|val"
        case [_, split] if split:
            yield from _reason(tree, spec)
        case _:
            yield (
                "is no validation set; write it as in refcoco|unc|val (dataset|split by|split), ReasonSeg|val or "
                "own|my.jsonl"
            )


def _family_problems(flags: DataFlags) -> Iterator[str]:
    families, rates = flags.dataset.split(SEPARATOR), flags.sample_rates.split(",")
    for family in dict.fromkeys(families):
        if family not in FAMILIES:
            yield f"--dataset: no family of datasets is called {family!r}; known: {', '.join(FAMILIES)}"
    if len(set(families)) != len(families):
        yield f"--dataset names a family twice: {flags.dataset}"
    if len(families) == 1:
        return  # needs no rates
    try:
        numbers = [float(rate) for rate in rates]
    except ValueError:
        yield f'--sample_rates is {flags.sample_rates!r}; it must be like "9,3"'
        return
    if len(rates) != len(families):
        yield f"--sample_rates has {len(rates)} numbers for {len(families)} families of --dataset; give one each"
    if not all(0 <= number < float("inf") for number in numbers) or not sum(numbers):
        yield f"--sample_rates {flags.sample_rates!r} must not be negative, and not all zero"


def _sem_seg(tree: Tree | None, name: str) -> Iterator[str]:
    known = (*LABEL_MAPS, *PART_SETS)
    if name not in known:
        yield f"no dataset of the sem_seg family is called {name!r}; known: {', '.join(known)}"
    else:
        yield from _lost(tree, FOLDERS[name])


def _refer(tree: Tree | None, name: str) -> Iterator[str]:
    if name not in REFER_LAYOUTS:
        yield f"no dataset of the refer format is called {name!r}; known: {', '.join(REFER_LAYOUTS)}"
    elif tree is not None and not (tree / FOLDERS[name]).is_dir() and not (tree / name).is_dir():
        yield f"{tree / FOLDERS[name]}: not found; put {name} there, or leave it out"


def _vqa(tree: Tree | None, name: str) -> Iterator[str]:
    path = f"llava_dataset/{name}.json"
    if tree is not None and not (tree / path).is_file():
        yield f"{tree / path}: not found; put it there, or leave {name!r} out"


def _reason(tree: Tree | None, spec: str) -> Iterator[str]:
    """`ReasonSeg|train_val`, with or without several splits."""
    name, _, splits = spec.partition("|")
    if not name or not splits:
        yield f"{spec!r} must name a dataset and its split, as in ReasonSeg|train"
        return
    yield from (problem for split in splits.split("_") for problem in _lost(tree, f"reason_seg/{name}/{split}"))


def _own(tree: Tree | None, source: str) -> Iterator[str]:
    try:
        find_source(source)
    except (ValueError, OSError) as error:
        yield str(error).removesuffix(f"\n{FORMATS}").removesuffix(". Own data is one of")


def _lost(tree: Tree | None, folder: str) -> Iterator[str]:
    if tree is not None and not (tree / folder).is_dir():
        yield f"{tree / folder}: not found; put it there, or leave it out"


_LOOK: dict[str, Callable[[Tree | None, str], Iterator[str]]] = {
    "sem_seg": _sem_seg,
    "refer_seg": _refer,
    "vqa": _vqa,
    "reason_seg": _reason,
    "own": _own,
}
