"""Pascal-Part: parts of objects, each instance by itself, over pictures in VOC's folder."""

from __future__ import annotations

from pathlib import Path

from datasets.synthetic.catalog import CLASSES
from datasets.synthetic.parts import part_name
from datasets.synthetic.writers.annotations import ID_STEP
from datasets.synthetic.writers.material import Material, write_bytes
from datasets.synthetic.writers.paco import part_annotations, write_coco_json

# The pictures have a folder of their own, so only a share of them is written: one in ten, of training always.
SHARE, OFFSET = 10, 4
FOLDER = "vlpart/pascal_part"
IMAGES = f"{FOLDER}/VOCdevkit/VOC2010/JPEGImages"

VOC_NAMES = {"airplane": "aeroplane"}
CATEGORIES = [f"{VOC_NAMES.get(cls.name, cls.name)}:{part_name(part)}" for cls in CLASSES for part in cls.parts]


def write_picture(material: Material, root: Path) -> dict | None:
    """The picture; returns its entries, or None where no part is seen."""
    if material.picture.scene.index % SHARE != OFFSET:
        return None
    annotations = []
    for seen in material.picture.things:
        name = VOC_NAMES.get(seen.thing.cls, seen.thing.cls)
        numbers = {part: CATEGORIES.index(f"{name}:{part_name(part)}") + 1 for part in seen.parts}
        first = material.image_id * ID_STEP + len(annotations)
        annotations += part_annotations(seen, numbers, material.image_id, first)
    if not annotations:
        return None
    file_name = f"2010_{material.image_id:06d}.jpg"
    write_bytes(root / IMAGES / file_name, material.jpeg)
    height, width = material.picture.image.shape[:2]
    return {
        "image": {"id": material.image_id, "file_name": file_name, "height": height, "width": width},
        "annotations": annotations,
    }


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """train.json."""
    return write_coco_json(root / FOLDER / "train.json", records, CATEGORIES)
