"""COCO instances: each category of a picture is asked for; the answer is all of its instances together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets.files import field, inside, open_json
from datasets.index import RecordIndex
from datasets.masks import parse_segmentation
from datasets.own.records import Asked, OwnPicture, Said, naming
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
        content = open_json(source)
        names = _category_names(content, source)
        records = _annotated(content, names, source)
        self._images = images or _find_images(source, records[0]["file_name"])
        self._records = RecordIndex.of(records, {})
        for index in range(len(self)):
            self[index]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> OwnPicture:
        record = self._records[index]
        where = f"{self._source}: image {record['id']}"
        height, width = size = record["height"], record["width"]
        with naming(where):
            path = inside(self._images, record["file_name"])
            check_size(path, size, "the record")
        regions: dict[str, list] = {}
        for annotation_id, name, segmentation in record["annotations"]:
            with naming(f"{self._source}: annotation {annotation_id}"):
                regions.setdefault(name, []).extend(parse_segmentation(segmentation, height, width))
        return OwnPicture(
            path=path,
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


def _category_names(content: Any, source: Path) -> dict[Id, str]:
    return {
        category["id"]: check_text(
            field(category, "name", str, f"{source}: category {category['id']}"), f"{source}: category {category['id']}"
        )
        for category in _table(content, "categories", source)
    }


def _annotated(content: Any, names: dict[Id, str], source: Path) -> list[dict]:
    """The image records that are annotated, each with `annotations`: id, name of the category, segmentation."""
    images = {}
    for image in _table(content, "images", source):
        where = f"{source}: image {image['id']}"
        kinds = {"file_name": str, "height": int, "width": int}
        record = {key: field(image, key, kind, where) for key, kind in kinds.items()}
        images[image["id"]] = {"id": image["id"], **record, "annotations": []}
    for annotation in _table(content, "annotations", source):
        where = f"{source}: annotation {annotation['id']}"
        image, category = (field(annotation, key, (int, str), where) for key in ("image_id", "category_id"))
        segmentation = field(annotation, "segmentation", (list, dict), where)
        for table, number in (("images", image), ("categories", category)):
            if number not in (images if table == "images" else names):
                raise ValueError(
                    f"{where}: there is no {number!r} among the {table} of the file; restore that record or "
                    "remove the annotation"
                )
        if not segmentation:
            raise ValueError(f"{where}: the segmentation is empty; outline the instance or remove the annotation")
        images[image]["annotations"].append((annotation["id"], names[category], segmentation))
    if not (annotated := [record for record in images.values() if record["annotations"]]):
        raise ValueError(f"{source}: no picture is annotated, so there is nothing to ask; add annotations")
    return annotated


def _table(content: Any, name: str, source: Path) -> Sequence[dict]:
    """The records of a table, each with an `id` of its own."""
    records = field(content, name, list, f"{source} (COCO instances)")
    seen = set()
    for index, record in enumerate(records):
        number = field(record, "id", (int, str), f"{source}: {name}[{index}]")
        if number in seen:
            raise ValueError(f"{source}: {name}[{index}]: the id {number!r} occurs twice; number the records anew")
        seen.add(number)
    return records


def _find_images(source: Path, file_name: str) -> Path:
    """The folder of the file, or images/ in it where that has the first picture."""
    below = source.parent / "images"
    with naming(f"{source}: file_name {file_name!r:.60}"):
        return below if inside(below, file_name).is_file() else source.parent
