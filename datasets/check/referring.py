"""The refer format: refs(<split by>).p with instances.json, and gRefCOCO's grefs with lists of targets."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets.check.leaks import MEND, shared_ids
from datasets.check.problems import Problems
from datasets.check.shelf import Exhibit
from datasets.check.tables import (
    LINK_MEND,
    Annotation,
    Tables,
    area,
    by_id,
    check_sizes,
    read_tables,
    regions_of,
)
from datasets.check.tally import Tally
from datasets.check.visit import Visit
from datasets.files import field
from datasets.masks import parse_segmentation
from datasets.plain_pickle import read_plain_pickle
from datasets.refer import refer_layout
from datasets.refs import NO_TARGET, is_blank
from datasets.templates import ANSWERS, SHORT_QUESTIONS, check_text
from lisa.image_files import list_folder

_REFS_FILE = re.compile(r"g?refs\((?P<split_by>[^)]+)\)\.(p|json)")
# This split parts the objects, not the pictures: its train pictures occur in val by design.
_SPLIT_BY_OBJECT = ("refcocog", "google")


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A record whose fields have the right types."""

    id: Any
    image_id: Any
    split: str
    ann_ids: tuple[int, ...]  # empty: no target
    sentences: tuple[str, ...]
    left_out: bool  # has no sentence and is passed over


def check_refer(visit: Visit) -> None:
    """refer_seg/<dataset>: every refs file that is there, with the annotations and the pictures it points at."""
    folder = visit.folder(f"refer_seg/{visit.dataset}")
    if folder is None:
        return
    sources = _refs_files(folder)
    wanted = {by: path for by, path in sources.items() if visit.wants(f"{visit.dataset}|{by}")}
    if not sources:
        visit.problems.add("layout", folder, "", "no refs(...).p is there", f"put the refs of {visit.dataset} there")
    instances = folder / "instances.json"
    if not instances.is_file():
        visit.problems.add("layout", instances, "", "not found", f"put the annotations of {visit.dataset} there")
        return
    if not wanted:
        return
    tables = read_tables(visit, instances, visit.tree / f"refer_seg/{refer_layout(visit.dataset).images}")
    if tables is not None:
        for split_by, source in wanted.items():
            _check_refs_file(visit, split_by, source, tables)


def _refs_files(folder: Path) -> dict[str, Path]:
    """Split by -> file; the pickle where there is a json too, as the official reader takes it."""
    paths = sorted(list_folder(folder), key=lambda path: (path.suffix == ".p", path.name))
    matches = [(_REFS_FILE.fullmatch(path.name), path) for path in paths]
    return {match["split_by"]: path for match, path in matches if match}


def _check_refs_file(visit: Visit, split_by: str, source: Path, tables: Tables) -> None:
    refs = _usable_refs(visit, split_by, source, tables)
    headers = check_sizes(visit, tables, dict.fromkeys(ref.image_id for ref in refs))
    splits: dict[str, dict[Any, Any]] = {}  # split -> picture, or image id where it has none -> image id
    asked = [ref for ref in refs if not ref.left_out]
    for split in {ref.split for ref in refs} - {ref.split for ref in asked}:
        what = f"no ref of split {split!r} has a sentence"
        visit.problems.add("sentence", source, f"split {split}", what, "restore the file from its source")
    for ref in asked:
        row = f"{visit.dataset}|{split_by}|{ref.split}"
        with visit.problems.guard("ref", source, f"ref {ref.id}"):
            _count(visit.row(row), ref, tables)
        image = tables.images.get(ref.image_id)
        splits.setdefault(ref.split, {})[image.path if image else ref.image_id] = ref.image_id
        if image and image.path in headers and ref.sentences:
            visit.shelf.offer(row, partial(_exhibit, ref, tables))
    for split, images in splits.items():
        row = f"{visit.dataset}|{split_by}|{split}"
        visit.row(row).images = len(images)
        visit.pictures[row] = {path for path in images if isinstance(path, Path)}
    _check_leaks(visit, split_by, source, splits)


def _usable_refs(visit: Visit, split_by: str, source: Path, tables: Tables) -> list[Ref]:
    """The refs of the splits that were asked for, but for those that are reported."""
    refs = []
    records = _read(visit, source)
    for number, record in by_id(visit.problems, source, "refs", records, "ref", "ref_id").items():
        with visit.problems.guard("ref", source, f"ref {number}"):
            ref = _ref(record, number, source, visit.problems)
            if visit.wants(f"{visit.dataset}|{split_by}|{ref.split}"):
                refs.append(ref)
                _check_links(visit.problems, source, ref, tables)
    return refs


def _read(visit: Visit, source: Path) -> list:
    """The records of a pickle (plain data only: a hostile one is refused, never run) or json."""
    records: Any = []
    if source.suffix == ".json":
        records = visit.json(source) or []
    else:
        with visit.problems.guard("pickle", source):
            records = read_plain_pickle(source)
    if not isinstance(records, list):
        visit.problems.add("field", source, "", f"holds {type(records).__name__}, not a list of refs")
        return []
    return records


def _ref(record: dict, number: Any, source: Path, problems: Problems) -> Ref:
    """The fields that a loader uses; sentences that cannot be used are reported and left out."""
    where = f"{source}: ref {number}"
    texts = []
    sentences = field(record, "sentences", list, where)
    for index, sentence in enumerate(sentences):
        if is_blank(sentence):
            problems.note("sentence", source, f"ref {number}: sentences[{index}]", "the text is empty; it is left out")
            continue
        with problems.guard("sentence", source, f"ref {number}: sentences[{index}]"):
            place = f"{where}: sentences[{index}]"
            texts.append(check_text(field(sentence, "sent", str, place), place).lower())
    if all(map(is_blank, sentences)):
        what = "no sentence refers to it; it is left out, as a few of the official gRefCOCO are"
        problems.note("sentence", source, f"ref {number}", what)
    return Ref(
        id=number,
        image_id=field(record, "image_id", (int, str), where),
        split=field(record, "split", str, where),
        ann_ids=_targets(record, where),
        sentences=tuple(texts),
        left_out=all(map(is_blank, sentences)),
    )


def _targets(record: dict, where: str) -> tuple[int, ...]:
    """The annotations that a ref points at; gRefCOCO's [-1] is none."""
    ids = field(record, "ann_id", (int, str, list), where)
    if not isinstance(ids, list):
        if record.get("no_target"):
            raise ValueError(f"says no_target, but names annotation {ids}; correct one of the two")
        return (ids,)
    if not ids or not all(isinstance(number, (int, str)) for number in ids):
        raise ValueError(f"'ann_id' is {ids!r:.60}; it must be a list of ids, [-1] where there is no target")
    if NO_TARGET in ids and len(ids) > 1:
        raise ValueError(f"'ann_id' is {ids!r:.60}; -1 says that there is no target, so no other may stand beside it")
    if len(set(ids)) != len(ids):
        raise ValueError(f"'ann_id' is {ids!r:.60}; a target is named twice, remove one")
    nothing = ids == [NO_TARGET]
    if "no_target" in record and bool(record["no_target"]) != nothing:
        raise ValueError(f"'no_target' is {record['no_target']}, but 'ann_id' is {ids!r:.60}; correct one of the two")
    return () if nothing else tuple(ids)


def _check_links(problems: Problems, source: Path, ref: Ref, tables: Tables) -> None:
    place = f"ref {ref.id}"
    if ref.image_id not in tables.image_ids:
        problems.add("link", source, place, f"image {ref.image_id} is not in {tables.source}", LINK_MEND)
    for number in ref.ann_ids:
        if number not in tables.annotation_ids:
            problems.add("link", source, place, f"annotation {number} is not in {tables.source}", LINK_MEND)
            continue
        annotation = tables.annotations.get(number)
        if annotation is not None and annotation.image_id != ref.image_id:
            what = f"is of image {ref.image_id}, but its annotation {number} of image {annotation.image_id}"
            problems.add("link", source, place, what, "correct one of the two")


def _count(tally: Tally, ref: Ref, tables: Tables) -> None:
    tally.samples += 1
    tally.sentences += len(ref.sentences)
    if not ref.ann_ids:
        tally.no_target += 1
    elif all(number in tables.shares for number in ref.ann_ids):
        tally.add_mask(_share(ref, tables))


def _share(ref: Ref, tables: Tables) -> float:
    """The union of the targets, as a share of the picture."""
    if len(ref.ann_ids) == 1:
        return tables.shares[ref.ann_ids[0]]
    annotations = [tables.annotations[number] for number in ref.ann_ids]
    image = tables.images[annotations[0].image_id]
    size = image.height, image.width
    drawable = [a for a in annotations if a.image_id == annotations[0].image_id]
    parts = [part for annotation in drawable for part in parse_segmentation(annotation.segmentation, *size)]
    return area(tuple(parts), *size) / (image.height * image.width)


def _check_leaks(visit: Visit, split_by: str, source: Path, splits: dict[str, dict[Any, Any]]) -> None:
    for split in splits.keys() - {"train"}:
        shared = shared_ids(splits.get("train", {}), splits[split])
        if shared and (visit.dataset, split_by) == _SPLIT_BY_OBJECT:
            what = f"{len(shared)} pictures of {split} are also in train: this split parts objects, not pictures"
            visit.problems.note("shared pictures", source, split, what, "the umd split keeps them apart")
            continue
        for key in shared:
            what = f"a picture of {split} that is also in train ({getattr(key, 'name', key)})"
            visit.problems.add("leak", source, f"image {splits[split][key]}", what, MEND)


def _exhibit(ref: Ref, tables: Tables, rng: random.Random) -> Exhibit:
    annotations: list[Annotation] = [tables.annotations[number] for number in ref.ann_ids if number in tables.shares]
    return Exhibit(
        path=tables.images[ref.image_id].path,
        question=rng.choice(SHORT_QUESTIONS).format(phrase=rng.choice(ref.sentences)),
        answer=rng.choice(ANSWERS),
        regions=regions_of(tables, annotations),
    )
