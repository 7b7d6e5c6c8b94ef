"""The refer format: refs(<split by>).p and instances.json -> pictures with what is referred to in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.collected import Collected
from datasets.files import missing, require_file, require_images
from datasets.images import Picture
from datasets.index import Columns, RecordIndex
from datasets.instances import Instances, parse_all
from datasets.masks import Part, rasterise, stack
from datasets.refs import load_refs
from datasets.tree import Tree


@dataclass(frozen=True, kw_only=True)
class ReferLayout:
    """Where a dataset of the refer format keeps its files, below `refer_seg`."""

    split_by: str
    """Whose split is trained on: refs(<split_by>).p."""
    images: str = "images/mscoco/images/train2014"
    """Folder of the pictures."""
    refs: tuple[str, ...] = ("refs({}).p",)
    """Names of the refs file; the first that is there is read."""


REFER_LAYOUTS = {
    "refclef": ReferLayout(split_by="unc", images="images/saiapr_tc-12"),
    "refcoco": ReferLayout(split_by="unc"),
    "refcoco+": ReferLayout(split_by="unc"),
    "refcocog": ReferLayout(split_by="umd"),
    "grefcoco": ReferLayout(split_by="unc", refs=("grefs({}).p", "grefs({}).json")),
}


COLUMNS: Columns = {
    "file_name": lambda record: record["file_name"],
    "sentences": lambda record: sum(len(target["sentences"]) for target in record["targets"]),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A phrase, stripped and lower-cased, and the kind of question where the data names it, else ""."""

    text: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """What is referred to, one thing or several; no parts means that the picture holds no such thing."""

    sentences: tuple[Sentence, ...]
    parts: tuple[Part, ...]
    is_one: bool = True  # one thing, which may be drawn in several parts

    @property
    def name(self) -> str:
        """The first sentence, such that "the " may stand before it; "" for several things or none."""
        return self.sentences[0].text.removeprefix("the ") if self.is_one else ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReferPicture:
    """A picture of one split: what is referred to in it and, where asked for, every whole thing in it."""

    image_id: str
    path: Path
    source: Path  # instances.json
    height: int  # of the annotation, pixels
    width: int
    targets: tuple[Target, ...]
    things: tuple[tuple[Part, ...], ...]

    @property
    def pairs(self) -> list[tuple[Target, Sentence]]:
        """Every sentence with what it refers to, in file order."""
        return [(target, sentence) for target in self.targets for sentence in target.sentences]

    def masks(self, segmentations: Sequence[tuple[Part, ...]], picture: Picture) -> np.ndarray:
        """Masks of segmentations in the geometry of the decoded picture: (N, H, W) bool, N may be 0."""
        source = f"{self.source}: image {self.image_id}"
        drawn: dict[int, np.ndarray] = {}  # several sentences may share a target
        for parts in segmentations:
            if id(parts) not in drawn:
                drawn[id(parts)] = picture.align(rasterise(parts, self.height, self.width), source)
        return stack([drawn[id(parts)] for parts in segmentations], *picture.size)


class ReferPictures(Sequence[ReferPicture]):
    """The pictures of a split; each is made from its record of the index when it is asked for."""

    def __init__(self, records: RecordIndex, images: Path, source: Path) -> None:
        self._records, self._images, self._source = records, images, source
        self.num_sentences = int(records.columns["sentences"].sum())
        require_images(images, records.columns["file_name"], source)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[ReferPicture]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> ReferPicture:
        record = self._records[index]
        size = record["height"], record["width"]
        return ReferPicture(
            image_id=record["image_id"],
            path=self._images / record["file_name"],
            source=self._source,
            height=record["height"],
            width=record["width"],
            targets=tuple(
                Target(
                    sentences=tuple(Sentence(text=text, kind=kind) for text, kind in target["sentences"]),
                    parts=parse_all(target["segmentations"], *size),
                    is_one=len(target["segmentations"]) == 1,
                )
                for target in record["targets"]
            ),
            things=tuple(parse_all([segmentation], *size) for segmentation in record["things"]),
        )


def load_refer(place: Path | Tree, name: str, split_by: str, split: str, *, with_things: bool = False) -> ReferPictures:
    """The pictures of a split with their targets, in file order; `place` is the folder that holds refer_seg.

    Everything is checked but the pictures' content: none is opened. Without `with_things` the annotations
    that no ref points at are left out.
    """
    tree, layout = Tree.of(place), refer_layout(name)
    names = [file.format(split_by) for file in layout.refs]
    expected = "\n".join(
        f"  refer_seg/{file}"
        for file in (f"{name}/{' or '.join(names)}", f"{name}/instances.json", f"{layout.images}/*.jpg")
    )
    candidates = [tree / f"refer_seg/{name}/{file}" for file in names]
    refs_path = require_file(next((path for path in candidates if path.is_file()), candidates[0]), expected)
    instances_path = require_file(tree / f"refer_seg/{name}/instances.json", expected)
    images = tree / f"refer_seg/{layout.images}"
    if not images.is_dir():
        raise missing(images, expected)

    def build() -> Iterator[dict]:
        return _records(refs_path, Instances(instances_path), images, split, with_things)

    sources = (refs_path, instances_path)
    records = tree.index(f"{name}-{split_by}-{split}", sources, build, COLUMNS, split=split, things=with_things)
    return ReferPictures(records, images, instances_path)


def refer_layout(name: str) -> ReferLayout:
    """The layout of a dataset; ValueError for a name that is not known."""
    if name not in REFER_LAYOUTS:
        raise ValueError(f"no refer_seg dataset is called {name!r}; known: {', '.join(REFER_LAYOUTS)}")
    return REFER_LAYOUTS[name]


def _records(refs_path: Path, instances: Instances, images: Path, split: str, with_things: bool) -> Iterator[dict]:
    """What the refs of each picture, and its annotations, say about it."""
    by_image: dict[int | str, list[dict]] = {}
    for ref in load_refs(refs_path, split):
        by_image.setdefault(ref["image_id"], []).append(ref)
    problems = Collected()
    for refs in by_image.values():
        good = []
        with problems.guard():
            good.append(_record(refs, instances, images, refs_path, with_things))
        yield from good
    problems.refuse(refs_path)


def _record(refs: list[dict], instances: Instances, images: Path, refs_path: Path, with_things: bool) -> dict:
    """What the refs of one picture, and its annotations, say about it."""
    image_id = refs[0]["image_id"]
    if image_id not in instances.images:
        raise ValueError(
            f"{refs_path}: ref {refs[0]['ref_id']}: image {image_id} is not in {instances.path}; "
            "the two files do not belong together"
        )
    picture = instances.picture(image_id, images)
    annotations = {annotation["id"]: annotation for annotation in instances.of_image.get(image_id, [])}
    things = [a for a in annotations.values() if with_things and _is_whole(instances.category(a))]
    return picture | {
        "targets": [_target(ref, annotations, instances, picture, refs_path) for ref in refs],
        "things": [instances.segmentation(a, picture) for a in things],
    }


def _target(ref: dict, annotations: dict, instances: Instances, picture: dict, refs_path: Path) -> dict:
    if absent := [number for number in ref["ann_ids"] if number not in annotations]:
        raise ValueError(
            f"{refs_path}: ref {ref['ref_id']}: annotation {absent[0]} of image {ref['image_id']} is not in "
            f"{instances.path}; the two files do not belong together"
        )
    segmentations = [instances.segmentation(annotations[number], picture) for number in ref["ann_ids"]]
    return {"sentences": ref["sentences"], "segmentations": segmentations}


def _is_whole(category: str) -> bool:
    """Parts are named "roof of house" or "house:roof"."""
    return " of " not in category and ":" not in category
