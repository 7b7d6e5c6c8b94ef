"""PACO-LVIS: objects and their parts, each instance by itself, over the pictures of COCO's folder."""

from __future__ import annotations

import json
from pathlib import Path

from datasets.synthetic.catalog import CLASSES
from datasets.synthetic.draw import SeenThing
from datasets.synthetic.outlines import has_hole, to_polygons, to_rle
from datasets.synthetic.parts import part_instances, part_name
from datasets.synthetic.writers.annotations import ID_STEP, coco_annotation, plain_segmentation
from datasets.synthetic.writers.material import Material, write_bytes

# As in the real one, some pictures of COCO only: one in five of all, one in four of training.
SHARE = 4
INDEX = "vlpart/paco/annotations/paco_lvis_v1_train.json"

# LVIS tells the senses of a word by a suffix.
LVIS_NAMES = {
    "car": "car_(automobile)",
    "bus": "bus_(vehicle)",
    "house": "house_(building)",
    "lamp": "table_lamp",
    "ball": "ball_(toy)",
}
CATEGORIES = [
    *(LVIS_NAMES.get(cls.name, cls.name) for cls in CLASSES),
    *(f"{LVIS_NAMES.get(cls.name, cls.name)}:{part_name(part)}" for cls in CLASSES for part in cls.parts),
]


def write_picture(material: Material, root: Path) -> dict | None:
    """Returns the picture's entries: things, then the parts of all of them."""
    if material.split != "train" or material.picture.scene.index % SHARE:
        return None
    height, width = material.picture.image.shape[:2]
    first, annotations = material.image_id * ID_STEP, []
    for seen, shared in zip(material.picture.things, material.annotations, strict=True):
        name = LVIS_NAMES.get(seen.thing.cls, seen.thing.cls)
        segmentation = plain_segmentation(shared["segmentation"])
        number = CATEGORIES.index(name) + 1
        annotations.append(
            coco_annotation(first + len(annotations), material.image_id, number, seen.mask, segmentation)
        )
        numbers = {part: CATEGORIES.index(f"{name}:{part_name(part)}") + 1 for part in seen.parts}
        annotations += part_annotations(seen, numbers, material.image_id, first + len(annotations))
    file_name = f"train2017/{material.image_id:012d}.jpg"
    return {
        "image": {"id": material.image_id, "file_name": file_name, "height": height, "width": width},
        "annotations": annotations,
    }


def part_annotations(seen: SeenThing, category_ids: dict[str, int], image_id: int, first_id: int) -> list[dict]:
    """An annotation for each instance of each part of a thing; `category_ids` by part, may lack some."""
    annotations = []
    for part, category_id in category_ids.items():
        for mask in part_instances(seen, part):
            segmentation = to_rle(mask) if has_hole(mask) else to_polygons(mask)
            annotations.append(coco_annotation(first_id + len(annotations), image_id, category_id, mask, segmentation))
    return annotations


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """paco_lvis_v1_train.json."""
    return write_coco_json(root / INDEX, records, CATEGORIES)


def write_coco_json(path: Path, records: list[dict], categories: list[str]) -> dict[str, int]:
    """A json that pycocotools reads; returns its counts."""
    annotations = [annotation for record in records for annotation in record["annotations"]]
    content = {
        "images": [record["image"] for record in records],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
    }
    write_bytes(path, json.dumps(content).encode())
    return {"images": len(records), "annotations": len(annotations)}
