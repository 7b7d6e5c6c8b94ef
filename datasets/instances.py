"""instances.json of COCO: pictures, annotations and categories, with look-ups that name what they miss."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets.collected import naming
from datasets.files import field, name_inside, open_json
from datasets.masks import Part, parse_segmentation
from datasets.tree import Tree
from lisa.pixels import MAX_PIXELS


class Instances:
    """The content of a COCO file. Large: keep what is needed and let it go."""

    def __init__(self, path: Path) -> None:
        content = open_json(path)
        self.path = path
        self.images = self._by_id(content, "images")
        self.annotations = self._by_id(content, "annotations")
        self.categories = self._by_id(content, "categories")
        self.of_image: dict[Any, list[dict]] = {}
        for annotation in self.annotations.values():
            image_id = field(annotation, "image_id", (int, str), f"{path}: annotation {annotation['id']}")
            self.of_image.setdefault(image_id, []).append(annotation)
        orphans = [image_id for image_id in self.of_image if image_id not in self.images]
        if orphans:
            annotation = self.of_image[orphans[0]][0]["id"]
            raise ValueError(
                f"{path}: annotation {annotation} is of image {orphans[0]}, which the file does not list; "
                "restore the image record or remove the annotation"
            )

    def picture(self, image_id: Any, images: Path | Tree) -> dict:
        """{"image_id", "file_name", "height", "width"} of a picture, whose file lies inside `images`."""
        record, where = self.images[image_id], f"{self.path}: image {image_id}"
        height, width = (field(record, side, int, where) for side in ("height", "width"))
        if height < 1 or width < 1 or height * width > MAX_PIXELS:
            raise ValueError(
                f"{where}: a size of {width} x {height} pixels, not from 1 to {MAX_PIXELS} in all; correct the record"
            )
        file_name = field(record, "file_name", str, where)
        with naming(where):
            file_name = name_inside(images, file_name)
        return {"image_id": str(image_id), "file_name": file_name, "height": height, "width": width}

    def segmentation(self, annotation: dict, picture: dict) -> list | dict:
        """The segmentation of an annotation, checked against the picture's size."""
        where = f"{self.path}: annotation {annotation['id']}"
        segmentation = field(annotation, "segmentation", (list, dict), where)
        with naming(where):
            parse_segmentation(segmentation, picture["height"], picture["width"])
        return segmentation

    def category(self, annotation: dict) -> str:
        """Name of an annotation's category."""
        where = f"{self.path}: annotation {annotation['id']}"
        category_id = field(annotation, "category_id", (int, str), where)
        if category_id not in self.categories:
            raise ValueError(f"{where}: category {category_id} is not in the file; restore it or remove the annotation")
        return field(self.categories[category_id], "name", str, f"{self.path}: category {category_id}")

    def _by_id(self, content: Any, table: str) -> dict[Any, dict]:
        records = field(content, table, list, str(self.path))
        by_id = {field(r, "id", (int, str), f"{self.path}: {table}[{i}]"): r for i, r in enumerate(records)}
        if len(by_id) != len(records):
            raise ValueError(f"{self.path}: {len(records) - len(by_id)} ids of {table} occur twice")
        return by_id


def parse_all(segmentations: Iterable[list | dict], height: int, width: int) -> tuple[Part, ...]:
    """The parts of several segmentations of one picture, together."""
    return tuple(part for segmentation in segmentations for part in parse_segmentation(segmentation, height, width))
