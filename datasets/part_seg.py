"""PACO-LVIS and Pascal-Part: COCO files whose annotations are things ("bottle") and parts ("bottle:cap")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.collected import Collected
from datasets.files import require_file, require_images
from datasets.images import read_picture
from datasets.index import RecordIndex
from datasets.instances import Instances, parse_all
from datasets.masks import rasterise, stack
from datasets.sample import Sample, SampleOptions
from datasets.templates import answer, check_text, choose_some, short_question
from datasets.tree import Tree
from lisa.conversation import Conversation

SENSE = "_("
"""Where the word sense of an LVIS name begins, which nobody says: "box_(container)"."""


@dataclass(frozen=True, kw_only=True)
class PartSet:
    """Where a dataset keeps its files."""

    annotations: str
    images: str
    only_parts: bool
    """Every category is a part."""


PART_SETS = {
    "paco_lvis": PartSet(
        annotations="vlpart/paco/annotations/paco_lvis_v1_train.json", images="coco", only_parts=False
    ),
    "pascal_part": PartSet(
        annotations="vlpart/pascal_part/train.json",
        images="vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages",
        only_parts=True,
    ),
}


class PartSeg:
    """Pictures with annotated things and parts, each with some of the categories that are in it.

    All instances of a category are the target together: "the wheel of the car" of a picture with two cars would
    otherwise ask for one of them and not say which, as the reference does.
    """

    def __init__(self, data: str, records: RecordIndex, images: Tree, source: Path, options: SampleOptions) -> None:
        self.data = data
        self._records, self._images, self._source = records, images, source
        self._options = options
        require_images(images, records.columns["file_name"], source)

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its categories, one conversation each."""
        record = self._records[index]
        path, size = self._images / record["file_name"], (record["height"], record["width"])
        picture = read_picture(path)
        chosen = choose_some(rng, record["categories"], self._options.num_classes_per_sample)
        names = tuple(_spoken(category["name"], rng) for category in chosen)
        where = f"{self._source}: image {record['image_id']}"
        masks = [rasterise(parse_all(category["segmentations"], *size), *size) for category in chosen]
        return Sample(
            data=self.data,
            image_id=record["image_id"],
            image_path=path,
            image=picture.pixels,
            conversations=tuple(self._conversation(name, rng) for name in names),
            masks=stack([picture.align(mask, where) for mask in masks], *picture.size),
            ignore=np.zeros(picture.size, dtype=bool),
            names=tuple(name.removeprefix("the ") for name in names),
            types=("",) * len(names),
        )

    def _conversation(self, name: str, rng: np.random.Generator) -> Conversation:
        reply = answer(rng, name.removeprefix("the "), self._options.name_targets)
        return Conversation.of(short_question(rng, name), reply)


def open_part_seg(tree: Tree, name: str, options: SampleOptions) -> PartSeg:
    """A dataset of PART_SETS by its name."""
    files = PART_SETS[name]
    layout = f"  {files.annotations}\n  {files.images}/..."
    source = require_file(tree / files.annotations, layout)
    images = tree.below(files.images)

    def build() -> Iterator[dict]:
        return _records(Instances(source), images, files.only_parts)

    records = tree.index(name, [source], build, {"file_name": lambda record: record["file_name"]})
    if len(records) == 0:
        raise ValueError(f"{source}: annotates no thing and no part; restore it from its source")
    return PartSeg(name, records, images, source, options)


def split_name(category: str, where: str, only_parts: bool) -> list[str]:
    """[object] or [object, part] of a category's name, without word senses."""
    words = [check_text(word.partition(SENSE)[0], where) for word in category.split(":")]
    if len(words) > 2 or (only_parts and len(words) != 2):
        expected = "object:part" if only_parts else "object or object:part"
        raise ValueError(f"{where}: the category {category!r} must be of the form {expected}; correct its name")
    return words


def _records(instances: Instances, images: Tree, only_parts: bool) -> Iterator[dict]:
    """Each picture that has annotations, with its categories in the order in which they first occur."""
    problems = Collected()
    for image_id in instances.images:
        if image_id not in instances.of_image:
            continue
        good = []
        with problems.guard():
            good.append(_record(image_id, instances, images, only_parts))
        yield from good
    problems.refuse(instances.path)


def _record(image_id: int | str, instances: Instances, images: Tree, only_parts: bool) -> dict:
    picture = instances.picture(image_id, images)
    categories: dict[tuple[str, ...], list] = {}
    for annotation in instances.of_image[image_id]:
        name = split_name(instances.category(annotation), str(instances.path), only_parts)
        categories.setdefault(tuple(name), []).append(instances.segmentation(annotation, picture))
    return picture | {
        "categories": [{"name": name, "segmentations": segmentations} for name, segmentations in categories.items()]
    }


def _spoken(name: list[str], rng: np.random.Generator) -> str:
    """How a thing or a part is called; a part in one of two ways, equally often."""
    if len(name) == 1:
        return name[0]
    thing, part = name
    return f"{thing} {part}" if rng.random() < 0.5 else f"the {part} of the {thing}"
