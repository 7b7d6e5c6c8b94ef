"""COCO-style json: tables of images, annotations and categories that refer to each other by id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from datasets.check.problems import Problem, Problems
from datasets.check.shelf import Regions
from datasets.check.visit import Visit
from datasets.files import field, inside
from datasets.images import Header, Picture
from datasets.masks import Part, Polygon, parse_segmentation, rasterise, segmentation_mask
from datasets.tree import Tree
from lisa.pixels import MAX_PIXELS

_BATCH = 64  # annotations that a worker gets at once
LINK_MEND = "restore the record that is missing, or remove this one"
DUPLICATE_MEND = "ids must be unique: remove one of the two, or give it another id"


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """A line of `images`."""

    path: Path
    height: int  # pixels
    width: int


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A line of `annotations` whose fields have the right types."""

    id: Any
    image_id: Any
    category_id: Any
    segmentation: Any


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What is well in a COCO-style file, by id."""

    source: Path
    images: dict[Any, ImageRecord]
    annotations: dict[Any, Annotation]
    categories: dict[Any, str]
    shares: dict[Any, float]  # of the annotations: mask area as a share of the picture
    image_ids: frozenset  # of every image, also of those that are not well
    annotation_ids: frozenset


def read_tables(visit: Visit, source: Path, pictures: Path | Tree) -> Tables | None:
    """Read and check a file whose `file_name`s are below the folder `pictures`; None where nothing is left."""
    content = visit.json(source)
    if content is None:
        return None
    problems = visit.problems
    images, categories, annotations = {}, {}, {}
    raw_images = records_by_id(problems, source, content, "images", "image")
    for number, record in raw_images.items():
        with problems.guard("image record", source, f"image {number}"):
            images[number] = _image(record, pictures, f"{source}: image {number}")
    for number, record in records_by_id(problems, source, content, "categories", "category").items():
        with problems.guard("category", source, f"category {number}"):
            categories[number] = field(record, "name", str, f"{source}: category {number}")
    raw = records_by_id(problems, source, content, "annotations", "annotation")
    for number, record in raw.items():
        with problems.guard("annotation", source, f"annotation {number}"):
            annotation = _annotation(record, number, f"{source}: annotation {number}")
            _check_links(problems, source, annotation, raw_images, categories)
            annotations[number] = annotation
    shares = _measure(visit, source, [a for a in annotations.values() if a.image_id in images], images)
    return Tables(
        source=source,
        images=images,
        annotations=annotations,
        categories=categories,
        shares=shares,
        image_ids=frozenset(raw_images),
        annotation_ids=frozenset(raw),
    )


def records_by_id(
    problems: Problems, source: Path, content: Any, table: str, record_name: str, key: str = "id"
) -> dict[Any, dict]:
    """The records of a table by their ids; the first of those that share an id."""
    records: list = []
    with problems.guard("field", source, table):
        records = field(content, table, list, f"{source}: {table}")
    return by_id(problems, source, table, records, record_name, key)


def by_id(
    problems: Problems, source: Path, table: str, records: Iterable[Any], record_name: str, key: str
) -> dict[Any, dict]:
    """Records by their ids; those without one, or with one that was there before, are reported."""
    found: dict[Any, dict] = {}
    for index, record in enumerate(records):
        place = f"{table}[{index}]"
        with problems.guard("field", source, place):
            number = field(record, key, (int, str), f"{source}: {place}")
            if number in found:
                what = f"the id {number!r} occurs again at {place}"
                problems.add("duplicate id", source, f"{record_name} {number}", what, DUPLICATE_MEND)
                continue
            found[number] = record
    return found


def check_sizes(visit: Visit, tables: Tables, used: Iterable[Any]) -> dict[Path, Header]:
    """The pictures of these images: there, readable, and of the size that the file says."""
    used = [number for number in used if number in tables.images]
    mentions = {tables.images[number].path: f"image {number} of {tables.source}" for number in used}
    headers = visit.headers(mentions)
    for number in used:
        record = tables.images[number]
        header = headers.get(record.path)
        if header is not None and not header.fits((record.height, record.width)):
            height, width = header.size
            what = f"says {record.width} x {record.height} pixels, but {record.path} has {width} x {height}"
            mend = "restore the picture that was annotated, or correct the record and its masks"
            visit.problems.add("size", tables.source, f"image {number}", what, mend)
    return headers


def _image(record: dict, pictures: Path | Tree, where: str) -> ImageRecord:
    height, width = (field(record, side, int, where) for side in ("height", "width"))
    if height < 1 or width < 1:
        raise ValueError(f"a size of {width} x {height} pixels; correct the record")
    if height * width > MAX_PIXELS:  # a mask of that size would be drawn
        limit = f"beyond the limit of {MAX_PIXELS // 1_000_000} megapixels"
        raise ValueError(f"a size of {width} x {height} pixels, {limit}; correct the record")
    return ImageRecord(path=inside(pictures, field(record, "file_name", str, where)), height=height, width=width)


def _annotation(record: dict, number: Any, where: str) -> Annotation:
    return Annotation(
        id=number,
        image_id=field(record, "image_id", (int, str), where),
        category_id=field(record, "category_id", (int, str), where),
        segmentation=field(record, "segmentation", (list, dict), where),
    )


def _check_links(problems: Problems, source: Path, annotation: Annotation, images: dict, categories: dict) -> None:
    record = f"annotation {annotation.id}"
    if annotation.image_id not in images:
        problems.add("link", source, record, f"is of image {annotation.image_id}, which is not there", LINK_MEND)
    if annotation.category_id not in categories:
        what = f"is of category {annotation.category_id}, which is not in the list of {len(categories)}"
        problems.add("label", source, record, what, LINK_MEND)


def _measure(
    visit: Visit, source: Path, annotations: list[Annotation], images: dict[Any, ImageRecord]
) -> dict[Any, float]:
    """Areas of the segmentations that can be drawn, as shares of their pictures, by id of the annotation."""
    tasks = [
        [(a, images[a.image_id].height, images[a.image_id].width) for a in batch] for batch in _batches(annotations)
    ]
    shares: dict[Any, float] = {}
    work = partial(_measure_batch, source=source, dataset=visit.dataset)
    for measured, problems in visit.workers.map(work, tasks, f"{visit.dataset}: masks"):
        shares.update(measured)
        visit.problems.found += problems
    return shares


def _batches(annotations: list[Annotation]) -> Iterator[list[Annotation]]:
    for start in range(0, len(annotations), _BATCH):
        yield annotations[start : start + _BATCH]


def _measure_batch(
    batch: list[tuple[Annotation, int, int]], *, source: Path, dataset: str
) -> tuple[dict[Any, float], list[Problem]]:
    """In a worker: id -> share for a few annotations."""
    problems, shares = Problems(dataset=dataset), {}
    for annotation, height, width in batch:
        with problems.guard("segmentation", source, f"annotation {annotation.id}"):
            parts = parse_segmentation(annotation.segmentation, height, width)
            shares[annotation.id] = area(parts, height, width) / (height * width)
    return shares, problems.found


def area(parts: tuple[Part, ...], height: int, width: int) -> int:
    """Pixels in the union of the parts."""
    if parts and all(isinstance(part, Polygon) for part in parts):
        # Without drawing it: ten times as fast, and the same number.
        codes = coco_mask.frPyObjects([part.xy for part in parts], height, width)
        return int(coco_mask.area(coco_mask.merge(codes)))
    return int(rasterise(parts, height, width).sum())


def regions_of(tables: Tables, annotations: list[Annotation]) -> Callable[[Picture], Regions]:
    """Draws the union of annotations of one picture."""

    # The records are kept by what is drawn later, the large tables are not.
    image = tables.images[annotations[0].image_id] if annotations else None
    source = str(tables.source)

    def regions(picture: Picture) -> Regions:
        target, ignore = np.zeros((2, *picture.size), dtype=bool)
        for annotation in annotations:
            mask = segmentation_mask(annotation.segmentation, image.height, image.width)
            target |= picture.align(mask, source)
        return target, ignore

    return regions
