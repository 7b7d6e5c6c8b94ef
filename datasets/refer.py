"""The refer format: refs(<split by>).p and instances.json -> pictures with what is referred to in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files import field, inside, missing, open_json, require_file, require_images
from datasets.images import Picture
from datasets.masks import Part, parse_segmentation, rasterise, stack
from datasets.plain_pickle import read_plain_pickle
from datasets.templates import check_text


@dataclass(frozen=True, kw_only=True)
class ReferLayout:
    """Where a dataset of the refer format keeps its files, below `refer_seg`."""

    split_by: str  # whose split is trained on: refs(<split_by>).p
    images: str  # folder of the pictures


REFER_LAYOUTS = {
    "refcoco": ReferLayout(split_by="unc", images="images/mscoco/images/train2014"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A phrase, stripped and lower-cased, and the kind of question where the data names it, else ""."""

    text: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """A thing that is referred to; no parts means that the picture holds no such thing."""

    sentences: tuple[Sentence, ...]
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The first sentence, such that "the " may stand before it."""
        return self.sentences[0].text.removeprefix("the ")


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


def load_refer(root: Path, name: str, split_by: str, split: str, *, with_things: bool = False) -> list[ReferPicture]:
    """The pictures of a split with their targets, in file order; `root` is the refer_seg folder.

    Everything is checked but the pictures' content: none is opened. Without `with_things` the annotations
    that no ref points at are left out.
    """
    layout = refer_layout(name)
    files = (f"{name}/refs({split_by}).p", f"{name}/instances.json", f"{layout.images}/*.jpg")
    expected = "\n".join(f"  refer_seg/{file}" for file in files)
    refs_path = require_file(root / name / f"refs({split_by}).p", expected)
    instances = _Instances(require_file(root / name / "instances.json", expected))
    images = root / layout.images
    if not images.is_dir():
        raise missing(images, expected)
    refs = select_split(_checked_refs(refs_path), split, refs_path)
    by_image: dict[Any, list[dict]] = {}
    for ref in refs:
        by_image.setdefault(ref["image_id"], []).append(ref)
    pictures = [instances.picture(group, images, refs_path, with_things) for group in by_image.values()]
    require_images((picture.path for picture in pictures), instances.path)
    return pictures


def refer_layout(name: str) -> ReferLayout:
    """The layout of a dataset; ValueError for a name that is not known."""
    if name not in REFER_LAYOUTS:
        raise ValueError(f"no refer_seg dataset is called {name!r}; known: {', '.join(REFER_LAYOUTS)}")
    return REFER_LAYOUTS[name]


class UnknownSplitError(ValueError):
    """A dataset has no split of this name."""


def select_split(refs: list[dict], split: str, source: Path) -> list[dict]:
    """The refs of a split, at least one.

    testA, testB and testC match a test split that has their letter ("testAB" counts for both), test matches
    every test split, any other name matches itself.
    """
    chosen = [ref for ref in refs if _in_split(ref["split"], split)]
    if not chosen:
        known = ", ".join(sorted({ref["split"] for ref in refs}))
        raise UnknownSplitError(f"{source}: no split {split!r}; it has {known}")
    return chosen


def _in_split(split_of_ref: str, split: str) -> bool:
    if split == "test":
        return "test" in split_of_ref
    if split in ("testA", "testB", "testC"):
        return split_of_ref.startswith("test") and split[-1] in split_of_ref
    return split_of_ref == split


class _Instances:
    """instances.json, with look-ups that name what they miss. Large: keep what is needed and let it go."""

    def __init__(self, path: Path) -> None:
        content = open_json(path)
        self.path = path
        self._images = self._by_id(content, "images")
        self._annotations = self._by_id(content, "annotations")
        self._categories = self._by_id(content, "categories")
        self._of_image: dict[Any, list[dict]] = {}
        for annotation in self._annotations.values():
            image_id = field(annotation, "image_id", (int, str), f"{path}: annotation {annotation['id']}")
            self._of_image.setdefault(image_id, []).append(annotation)
        orphans = [image_id for image_id in self._of_image if image_id not in self._images]
        if orphans:
            annotation = self._of_image[orphans[0]][0]["id"]
            raise ValueError(
                f"{path}: annotation {annotation} is of image {orphans[0]}, which the file does not list; "
                "restore the image record or remove the annotation"
            )

    def picture(self, refs: list[dict], images: Path, refs_path: Path, with_things: bool) -> ReferPicture:
        """What the refs of one image, and the annotations, say about it."""
        image_id = refs[0]["image_id"]
        if image_id not in self._images:
            raise ValueError(
                f"{refs_path}: ref {refs[0]['ref_id']}: image {image_id} is not in {self.path}; "
                "the two files do not belong together"
            )
        record = self._images[image_id]
        place = f"{self.path}: image {image_id}"
        height, width = (field(record, side, int, place) for side in ("height", "width"))
        if height < 1 or width < 1:
            raise ValueError(f"{place}: a size of {width} x {height} pixels; correct the record")
        try:
            path = inside(images, field(record, "file_name", str, place))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        annotations = self._of_image.get(image_id, [])
        things = [a["id"] for a in annotations if with_things and self._is_whole_thing(a)]
        needed = {*things, *(ref["ann_id"] for ref in refs)}
        parts = {a["id"]: self._parts(a, height, width) for a in annotations if a["id"] in needed}
        return ReferPicture(
            image_id=str(image_id),
            path=path,
            source=self.path,
            height=height,
            width=width,
            targets=tuple(self._target(ref, parts, refs_path) for ref in refs),
            things=tuple(parts[annotation_id] for annotation_id in things),
        )

    def _target(self, ref: dict, parts: dict[Any, tuple[Part, ...]], refs_path: Path) -> Target:
        where = f"{refs_path}: ref {ref['ref_id']}"
        if ref["ann_id"] not in parts:
            raise ValueError(
                f"{where}: annotation {ref['ann_id']} of image {ref['image_id']} is not in {self.path}; "
                "the two files do not belong together"
            )
        sentences = tuple(_sentence(sentence, where) for sentence in ref["sentences"])
        if not sentences:
            raise ValueError(f"{where}: no sentence refers to it; add one or remove the ref")
        return Target(sentences=sentences, parts=parts[ref["ann_id"]])

    def _parts(self, annotation: dict, height: int, width: int) -> tuple[Part, ...]:
        where = f"{self.path}: annotation {annotation['id']}"
        try:
            return parse_segmentation(field(annotation, "segmentation", (list, dict), where), height, width)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _is_whole_thing(self, annotation: dict) -> bool:
        """Parts are named "roof of house" or "house:roof"."""
        category = self._categories.get(annotation.get("category_id"), {})
        name = field(category, "name", str, f"{self.path}: category of annotation {annotation['id']}")
        return " of " not in name and ":" not in name

    def _by_id(self, content: Any, table: str) -> dict[Any, dict]:
        records = field(content, table, list, str(self.path))
        by_id = {field(r, "id", (int, str), f"{self.path}: {table}[{i}]"): r for i, r in enumerate(records)}
        if len(by_id) != len(records):
            raise ValueError(f"{self.path}: {len(records) - len(by_id)} ids of {table} occur twice")
        return by_id


def _sentence(record: Any, where: str) -> Sentence:
    text = check_text(field(record, "sent", str, where), where).lower()
    return Sentence(text=text, kind=field(record, "type", str, where) if "type" in record else "")


def _checked_refs(path: Path) -> list[dict]:
    """The refs of a file, every field that is used there and of its type."""
    refs = read_refs(path)
    for index, ref in enumerate(refs):
        number = field(ref, "ref_id", (int, str), f"{path}: record {index}")
        for key, kind in (("ann_id", int), ("image_id", (int, str)), ("split", str), ("sentences", list)):
            field(ref, key, kind, f"{path}: ref {number}")
    return refs


def read_refs(path: Path) -> list[dict]:
    """The list of dicts in a refs file."""
    refs = read_plain_pickle(path)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{path}: a refs file holds a list of refs, at least one, not {refs!r:.60}")
    return refs
