"""COCO-style files of objects and their parts: PACO-LVIS and Pascal-Part."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from datasets.check.leaks import MEND, shared_ids
from datasets.check.shelf import Exhibit
from datasets.check.tables import Annotation, Tables, check_sizes, read_tables, regions_of
from datasets.check.visit import Visit
from datasets.templates import ANSWERS, SHORT_QUESTIONS
from datasets.tree import Tree
from lisa.image_files import list_folder


def check_paco_lvis(visit: Visit) -> None:
    """vlpart/paco/annotations/paco_lvis_v1_<split>.json about pictures of coco/."""
    folder = visit.folder("vlpart/paco/annotations")
    if folder is not None:
        prefix = "paco_lvis_v1_"
        files = [path for path in list_folder(folder, ".json") if path.stem.startswith(prefix)]
        sources = {path.stem.removeprefix(prefix): path for path in files}
        _check(visit, {"train": folder / "paco_lvis_v1_train.json"} | sources, visit.tree.below("coco"), (1, 2))


def check_pascal_part(visit: Visit) -> None:
    """vlpart/pascal_part/<split>.json about pictures of VOC 2010; every category is object:part."""
    folder = visit.folder("vlpart/pascal_part")
    if folder is not None:
        sources = {path.stem: path for path in list_folder(folder, ".json")}
        pictures = visit.tree.below("vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages")
        _check(visit, {"train": folder / "train.json"} | sources, pictures, (2,))


def _check(visit: Visit, sources: dict[str, Path], pictures: Tree, depths: tuple[int, ...]) -> None:
    """Every split; `depths` are the numbers of names, object and part, that a category may have."""
    names: dict[str, dict[Path, None]] = {}
    for split, source in sources.items():
        row = f"{visit.dataset}|{split}"
        if not visit.wants(row):
            continue
        if not source.is_file():
            visit.problems.add("layout", source, "", "not found", f"put the annotations of {visit.dataset} there")
            continue
        tables = read_tables(visit, source, pictures)
        if tables is not None:
            names[split] = _check_split(visit, row, tables, depths)
    for split in names.keys() - {"train"}:
        for path in shared_ids(names.get("train", {}), names[split]):
            what = f"{path} is also a picture of {visit.dataset}|train"
            visit.problems.add("leak", sources[split], f"image {path.name}", what, MEND)


def _check_split(visit: Visit, row: str, tables: Tables, depths: tuple[int, ...]) -> dict[Path, None]:
    """Count a split and offer samples of it; returns its annotated pictures."""
    for number, category in tables.categories.items():
        names = [name.split("_(")[0].strip() for name in category.split(":")]
        if len(names) not in depths or not all(names):
            what = f"the name {category!r} is not " + (" or ".join(("object", "object:part")[d - 1] for d in depths))
            visit.problems.add("category", tables.source, f"category {number}", what, "correct the name")
    used = dict.fromkeys(a.image_id for a in tables.annotations.values() if a.image_id in tables.images)
    headers = check_sizes(visit, tables, used)
    tally = visit.row(row)
    tally.images = tally.samples = len(used)
    if not used:
        visit.problems.add("layout", tables.source, "", "no picture is annotated", "restore it from its source")
    for annotation in tables.annotations.values():
        share = tables.shares.get(annotation.id)
        if share is None:
            continue
        tally.add_mask(share)
        if share and tables.images[annotation.image_id].path in headers:
            visit.shelf.offer(row, partial(_exhibit, tables, annotation))
    return dict.fromkeys(tables.images[number].path for number in used)


def _exhibit(tables: Tables, annotation: Annotation, rng: random.Random) -> Exhibit:
    names = [name.split("_(")[0] for name in tables.categories.get(annotation.category_id, "?").split(":")]
    phrase = names[0] if len(names) == 1 else rng.choice((f"{names[0]} {names[1]}", f"{names[1]} of the {names[0]}"))
    return Exhibit(
        path=tables.images[annotation.image_id].path,
        question=rng.choice(SHORT_QUESTIONS).format(phrase=phrase.lower()),
        answer=rng.choice(ANSWERS),
        regions=regions_of(tables, [annotation]),
    )
