"""COCO instances: each category of an image is asked for; the answer is all of its instances together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.collected import Collected, naming
from datasets.files import field, inside, open_json
from datasets.images import check_picture
from datasets.index import RecordIndex
from datasets.masks import parse_segmentation
from datasets.own.records import Asked, OwnPicture, Said
from datasets.own.regions import Shapes, check_size
from datasets.templates import check_text

Id = int | str


class CocoInstances:
    """The pictures of a file that have annotations, in file order.

    They are kept as an index, which the workers that load data share.
    """

    def __init__(self, source: Path, images: Path | None) -> None:
        """Check every record; pictures are in `images`, by default beside the file or in images/ beside it."""
        self._source = source
        problems = Collected()
        records = _annotated(open_json(source), source, problems)
        if not records:
            problems.refuse(source)
            raise ValueError(f"{source}: no picture is annotated, so there is nothing to ask; add annotations")
        self._images = images or _find_images(source, records)
        self._records = RecordIndex.of(records, {})
        for record in records:
            self._check(record, problems)
        problems.refuse(source)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> OwnPicture:
        record = self._records[index]
        where = f"{self._source}: image {record['id']}"
        height, width = record["height"], record["width"]
        regions: dict[str, list] = {}
        for _, name, segmentation in record["annotations"]:
            regions.setdefault(name, []).extend(parse_segmentation(segmentation, height, width))
        return OwnPicture(
            path=inside(self._images, record["file_name"]),
            image_id=str(record["id"]),
            asked=tuple(
                Asked(names=(name,), regions=(Shapes(parts=tuple(parts), height=height, width=width, where=where),))
                for name, parts in regions.items()
            ),
            ignore=(),
        )

    def said(self) -> Iterator[Said]:
        """The categories of every image."""
        for index, record in enumerate(self._records):
            for name in dict.fromkeys(name for _, name, _ in record["annotations"]):
                where = f"{self._source}: image {record['id']}: category {name!r:.60}"
                yield Said(where=where, index=index, text=name)

    def _check(self, record: dict, problems: Collected) -> None:
        """Look at a picture and at each of its annotations."""
        height, width = record["height"], record["width"]
        with problems.guard(f"{self._source}: image {record['id']}"):
            path = inside(self._images, record["file_name"])
            check_picture(path)
            check_size(path, (height, width), "the record")
        for number, _, segmentation in record["annotations"]:
            with problems.guard(f"{self._source}: annotation {number}"):
                if not segmentation:
                    raise ValueError(
                        "the segmentation is empty, as tools write it for a box; outline the instance or remove the "
                        "annotation"
                    )
                parse_segmentation(segmentation, height, width)


def _annotated(content: Any, source: Path, problems: Collected) -> list[dict]:
    """The image records that are annotated, each with `annotations`: id, name of the category, segmentation."""
    tables = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(table not in content for table in tables):
        raise ValueError(
            f"{source}: is no COCO instances, which have {', '.join(tables)}; export it as COCO, and name the folder "
            "of LabelMe files in place of one of them"
        )
    names = _category_names(content, source, problems)
    # None: a record that is there, and has a problem of its own.
    images: dict[Id, dict | None] = {}
    for number, image in _table(content, "images", source, problems).items():
        images[number] = None
        where = f"{source}: image {number}"
        with problems.guard(where):
            kinds = {"file_name": str, "height": int, "width": int}
            record = {key: field(image, key, kind, where) for key, kind in kinds.items()}
            images[number] = {"id": number, **record, "annotations": []}
    for number, annotation in _table(content, "annotations", source, problems).items():
        with problems.guard(f"{source}: annotation {number}"):
            _attach(annotation, number, images, names, f"{source}: annotation {number}")
    return [record for record in images.values() if record is not None and record["annotations"]]


def _category_names(content: Any, source: Path, problems: Collected) -> dict[Id, str]:
    names: dict[Id, str] = {}
    for number, category in _table(content, "categories", source, problems).items():
        where = f"{source}: category {number}"
        names[number] = ""
        with problems.guard(where):
            names[number] = check_text(field(category, "name", str, where), where)
    return names


def _attach(annotation: dict, number: Id, images: dict[Id, dict | None], names: dict[Id, str], where: str) -> None:
    """Put an annotation to its image."""
    image, category = (field(annotation, key, (int, str), where) for key in ("image_id", "category_id"))
    # Tools write a box with null, "" or no field at all.
    segmentation = annotation.get("segmentation") and field(annotation, "segmentation", (list, dict), where)
    for table, ids, wanted in (("images", images, image), ("categories", names, category)):
        if wanted not in ids:
            raise ValueError(
                f"there is no {wanted!r} among the {table} of the file; restore that record or remove the annotation"
            )
    if images[image] is not None:
        images[image]["annotations"].append((number, names[category], segmentation))


def _table(content: Any, name: str, source: Path, problems: Collected) -> dict[Id, dict]:
    """The records of a table by their ids; what has none, or one that was there before, is a problem."""
    records: dict[Id, dict] = {}
    for index, record in enumerate(field(content, name, list, f"{source} (COCO instances)")):
        where = f"{source}: {name}[{index}]"
        with problems.guard(where):
            number = field(record, "id", (int, str), where)
            if number in records:
                raise ValueError(f"the id {number!r} occurs twice; number the records anew")
            records[number] = record
    return records


def _find_images(source: Path, records: list[dict]) -> Path:
    """The folder of the file, or images/ in it where that has one of the first pictures."""
    below = source.parent / "images"
    for record in records[:10]:
        with naming(f"{source}: image {record['id']}"):
            if inside(below, record["file_name"]).is_file():
                return below
    return source.parent
