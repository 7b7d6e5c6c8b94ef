"""Pictures with a label map each: ADE20K, COCO-Stuff, Mapillary Vistas."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datasets.check.headers import look_at_picture
from datasets.check.leaks import shared_files
from datasets.check.problems import Problem, Problems
from datasets.check.shelf import Exhibit, Regions
from datasets.check.visit import Visit
from datasets.files import field
from datasets.images import Picture, read_label_map
from datasets.label_maps import UNLABELED, read_class_names
from datasets.templates import ANSWERS, SHORT_QUESTIONS
from lisa.image_files import list_folder

_SHOWN = 3  # unknown values that are named in a problem


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the pixel values of a dataset mean."""

    names: dict[int, str]  # pixel value -> class that can be asked for
    nothing: frozenset[int]  # pixel values that are no class


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where the pictures and label maps of a split are."""

    name: str
    images: Path
    labels: Path
    every_image: bool  # whether a picture must have a label map; the other way round it always must


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found out about a pair of picture and label map."""

    problems: list[Problem]
    shares: dict[int, float]  # pixel value -> share of the picture


def check_ade20k(visit: Visit) -> None:
    """ade20k/{images,annotations}/<split>: value 1 is the first of 150 classes, 0 is "other"."""
    labels = Labels(names=dict(enumerate(read_class_names("ade20k"), start=1)), nothing=frozenset({0, 255}))
    folder = visit.tree / "ade20k"
    _check(visit, labels, list(_splits(folder, "images/{}", "annotations/{}", "training")))


def check_cocostuff(visit: Visit) -> None:
    """cocostuff/<split> with the pictures of coco/<split>: values 0 to 181, 255 is none."""
    labels = Labels(names=dict(enumerate(read_class_names("cocostuff"))), nothing=frozenset({255}))
    folder = visit.folder("cocostuff")
    if folder is not None:
        splits = [
            Split(name=path.name, images=visit.tree / f"coco/{path.name}", labels=path, every_image=False)
            for path in _folders(folder, "train2017")
        ]
        _check(visit, labels, splits)


def check_mapillary(visit: Visit) -> None:
    """mapillary/<split>/{images,v2.0/labels}: values are places in the list of config_v2.0.json."""
    folder, source = visit.tree / "mapillary", visit.tree / "mapillary/config_v2.0.json"
    config, names = visit.json(source), {}
    if config is None:
        return
    with visit.problems.guard("field", source):
        for value, label in enumerate(field(config, "labels", list, str(source))):
            with visit.problems.guard("field", source, f"labels[{value}]"):
                names[value] = field(label, "readable", str, f"{source}: labels[{value}]").lower()
        if len(names) > 255:
            raise ValueError(f"{source}: {len(names)} labels, but a pixel holds 0 to 254, and 255 is none")
        none = frozenset(value for value, name in names.items() if name == UNLABELED) | {255}
        labels = Labels(names={v: name for v, name in names.items() if v not in none}, nothing=none)
        _check(visit, labels, list(_splits(folder, "{}/images", "{}/v2.0/labels", "training")))


def _splits(folder: Path, images: str, labels: str, train: str) -> Iterator[Split]:
    """The train split, there or not, and every other that has label maps."""
    names = {train, *_names_of_splits(folder, labels)}
    for name in sorted(names, key=lambda name: (name != train, name)):
        yield Split(
            name=name, images=folder / images.format(name), labels=folder / labels.format(name), every_image=True
        )


def _names_of_splits(folder: Path, labels: str) -> Iterator[str]:
    """What stands for {} in `labels`, in the folders that are there."""
    for path in list_folder(folder / labels.partition("{}")[0]):
        if (folder / labels.format(path.name)).is_dir():
            yield path.name


def _folders(folder: Path, train: str) -> list[Path]:
    """The train folder, there or not, and the others beside it."""
    return [folder / train, *(path for path in list_folder(folder) if path.is_dir() and path.name != train)]


def _check(visit: Visit, labels: Labels, splits: list[Split]) -> None:
    pictures = {}
    for split in splits:
        row = f"{visit.dataset}|{split.name}"
        if not visit.wants(row):
            continue
        pairs = _pairs(visit, split)
        pictures[row] = [image for image, _ in pairs]
        _check_pairs(visit, labels, row, pairs)
    train = f"{visit.dataset}|{splits[0].name}"
    if train in pictures:
        shared_files(visit.problems, pictures, train)


def _pairs(visit: Visit, split: Split) -> list[tuple[Path, Path]]:
    """Pictures and label maps of equal stem, sorted; the others are reported."""
    missing = [path for path in (split.images, split.labels) if not path.is_dir()]
    for path in missing:
        visit.problems.add("layout", path, "", "no such folder", f"it belongs to {visit.dataset}; put it there")
    if missing:
        return []
    images = {path.stem: path for path in list_folder(split.images, ".jpg") if path.suffix == ".jpg"}
    labels = {path.stem: path for path in list_folder(split.labels, ".png") if path.suffix == ".png"}
    if not labels:
        visit.problems.add("layout", split.labels, "", "holds no *.png", "put the label maps there")
    for stem in sorted(labels.keys() - images.keys()):
        what = f"no picture {stem}.jpg in {split.images}"
        visit.problems.add("missing picture", labels[stem], "", what, "add the picture or remove the label map")
    for stem in sorted(images.keys() - labels.keys() if split.every_image else ()):
        what = f"no label map {stem}.png in {split.labels}"
        visit.problems.add("missing label map", images[stem], "", what, "add the label map or remove the picture")
    return [(images[stem], labels[stem]) for stem in sorted(images.keys() & labels.keys())]


def _check_pairs(visit: Visit, labels: Labels, row: str, pairs: list[tuple[Path, Path]]) -> None:
    tally = visit.row(row)
    look = partial(_look_at_pair, dataset=visit.dataset, thorough=visit.thorough, labels=labels)
    for (image, label), facts in zip(pairs, visit.workers.map(look, pairs, row), strict=True):
        visit.problems.found += facts.problems
        tally.images += 1
        tally.samples += 1
        if not facts.shares:
            continue
        tally.add_ignored(sum(share for value, share in facts.shares.items() if value in labels.nothing))
        classes = {value: share for value, share in facts.shares.items() if value in labels.names}
        for share in classes.values():
            tally.add_mask(share)
        if classes:
            visit.shelf.offer(row, partial(_exhibit, image, label, labels, sorted(classes)))
        else:
            what = "no pixel has a class, so there is nothing to ask for"
            visit.problems.note("nothing to ask", label, "", what, "remove the label map and its picture")


def _look_at_pair(pair: tuple[Path, Path], *, dataset: str, thorough: bool, labels: Labels) -> Facts:
    """In a worker: the picture, the label map, and whether they belong together."""
    image, label = pair
    problems = Problems(dataset=dataset)
    shares: dict[int, float] = {}
    header = look_at_picture(image, dataset=dataset, thorough=thorough)
    if isinstance(header, list):
        problems.found += header
    with problems.guard("label map", label):
        ids = read_label_map(label)
        if not isinstance(header, list) and not header.fits(ids.shape):
            what = f"{_size(ids.shape)} pixels, but {image} has {_size(header.size)}"
            problems.add("size", label, "", what, "restore the picture that was labelled, or this label map")
        shares = _shares(ids)
        unknown = sorted(value for value in shares if value not in labels.names and value not in labels.nothing)
        if unknown:
            values = ", ".join(f"{value} ({shares[value]:.1%} of the pixels)" for value in unknown[:_SHOWN])
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            what = f"pixel values {values}{more} are not in the class list of {len(labels.names)}"
            problems.add("label", label, "", what, "it is the label map of another dataset, or damaged; restore it")
    return Facts(problems=problems.found, shares=shares)


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def _shares(ids: np.ndarray) -> dict[int, float]:
    """Share of the pixels by value."""
    if ids.dtype == np.uint8:  # counting is much faster than sorting
        counts = np.bincount(ids.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), (counts / ids.size).tolist(), strict=True))


def _exhibit(image: Path, label: Path, labels: Labels, classes: list[int], rng: random.Random) -> Exhibit:
    value = rng.choice(classes)
    return Exhibit(
        path=image,
        question=rng.choice(SHORT_QUESTIONS).format(phrase=labels.names[value].lower()),
        answer=rng.choice(ANSWERS),
        regions=_regions_of(label, value, labels.nothing),
    )


def _regions_of(label: Path, value: int, nothing: frozenset[int]) -> Callable[[Picture], Regions]:
    def regions(picture: Picture) -> Regions:
        ids = picture.align(read_label_map(label), str(label))
        return ids == value, np.isin(ids, list(nothing))

    return regions
