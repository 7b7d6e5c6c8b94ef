"""ReasonSeg: pictures with a json of questions and shapes beside each, and explanations of some answers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets.check.headers import look_at_picture
from datasets.check.leaks import shared_files
from datasets.check.problems import Problem, Problems
from datasets.check.shelf import Exhibit
from datasets.check.visit import Visit
from datasets.files import field, inside, open_json
from datasets.images import read_header
from datasets.reason_seg import ReasonPicture, paint, read_reason_picture, split_files
from datasets.templates import ANSWERS, LONG_QUESTIONS, SHORT_QUESTIONS, check_text

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found out about a picture and its json."""

    problems: list[Problem]
    record: ReasonPicture | None  # None where the json cannot be used
    target: float = 0.0  # shares of the picture
    ignore: float = 0.0


def check_reason_seg(visit: Visit) -> None:
    """reason_seg/<dataset>/{train,val,test}, and explanatory/train.json."""
    folder = visit.folder(f"reason_seg/{visit.dataset}")
    if folder is None:
        return
    splits = [path for split in _SPLITS if (path := folder / split).is_dir()]
    if not splits:
        what = "none of the folders train, val and test is there"
        visit.problems.add("layout", folder, "", what, "put a split there")
    pictures = {}
    explanations = _explanations(visit, folder)
    for path in splits:
        row = f"{visit.dataset}|{path.name}"
        if visit.wants(row):
            pictures[row] = _check_split(visit, row, path, explanations if path.name == "train" else {})
    if f"{visit.dataset}|train" in pictures:
        shared_files(visit.problems, pictures, f"{visit.dataset}|train")


def _check_split(visit: Visit, row: str, folder: Path, explanations: dict[str, str]) -> list[Path]:
    """Count a split; returns its pictures."""
    images, records = split_files(folder)
    for stem in sorted(images.keys() ^ records.keys()):
        path = images.get(stem) or records[stem]
        what = f"there is no {stem}{'.json' if stem in images else '.jpg'} beside it"
        kind = "missing json" if stem in images else "missing picture"
        visit.problems.add(kind, path, "", what, "complete the split or remove the file")
    if not images:
        visit.problems.add("layout", folder, "", "holds no *.jpg", "put the pictures there, or remove the folder")
    pairs = [(images[stem], records[stem]) for stem in sorted(images.keys() & records.keys())]
    tally = visit.row(row)
    look = partial(_look_at_pair, dataset=visit.dataset, thorough=visit.thorough)
    for (image, source), facts in zip(pairs, visit.workers.map(look, pairs, row), strict=True):
        visit.problems.found += facts.problems
        tally.images += 1
        tally.samples += 1
        if facts.record is not None:
            visit.note_encoding(source)
            tally.sentences += len(facts.record.texts)
            tally.add_mask(facts.target)
            tally.add_ignored(facts.ignore)
            explanation = explanations.get(image.name, "")
            visit.shelf.offer(row, partial(_exhibit, facts.record, explanation))
    return list(images.values())


def _look_at_pair(pair: tuple[Path, Path], *, dataset: str, thorough: bool) -> Facts:
    """In a worker: the picture, the json, and how much of the picture is target and ignored."""
    image, source = pair
    problems = Problems(dataset=dataset)
    header = look_at_picture(image, dataset=dataset, thorough=thorough)
    if isinstance(header, list):
        # Shapes are checked against its size, so only the file as such remains.
        problems.found += header
        with problems.guard("json", source):
            open_json(source)
        return Facts(problems=problems.found, record=None)
    with problems.guard("reasoning record", source):
        record = read_reason_picture(image, source)
        target, ignore = paint(record.shapes, *read_header(image).size)
        if thin := [i for i, shape in enumerate(record.shapes) if shape.is_line]:
            what = f"shapes {thin} are polygons of fewer than 3 points, which are drawn as lines"
            problems.note("line", source, "", what, "outline the thing, or say in shape_type what it is")
        return Facts(problems=problems.found, record=record, target=float(target.mean()), ignore=float(ignore.mean()))
    return Facts(problems=problems.found, record=None)


def _explanations(visit: Visit, folder: Path) -> dict[str, str]:
    """Explanations by picture; each is checked."""
    source, row = folder / "explanatory/train.json", f"{visit.dataset}|explanatory"
    if not visit.wants(row):
        return {}
    if not source.is_file():
        what = "not found, so training needs --explanatory -1"
        visit.problems.note("no explanations", source, "", what)
        return {}
    records = visit.json(source)
    if not isinstance(records, list):
        if records is not None:
            visit.problems.add("field", source, "", "holds no list of explanations")
        return {}
    tally, found = visit.row(row), {}
    for index, record in enumerate(records):
        tally.samples += 1
        with visit.problems.guard("explanation", source, f"record {index}"):
            where = f"{source}: record {index}"
            image = field(record, "image", str, where)
            if not inside(folder / "train", image).is_file():
                raise ValueError(f"{image} is not in {folder / 'train'}; restore it or remove the record")
            if image in found:
                visit.problems.note("explained twice", source, f"record {index}", f"{image} has an explanation before")
            found[image] = check_text(field(record, "outputs", str, where), where)
            tally.sentences += 1
    tally.images = len(found)
    return found


def _exhibit(record: ReasonPicture, explanation: str, rng: random.Random) -> Exhibit:
    text = rng.choice(record.texts)
    question = rng.choice(LONG_QUESTIONS).format(sentence=text)
    if not record.is_sentence:
        question = rng.choice(SHORT_QUESTIONS).format(phrase=text.lower())
    answer = " ".join(filter(None, (rng.choice(ANSWERS), explanation)))
    return Exhibit(path=record.path, question=question, answer=answer, regions=record.regions)
