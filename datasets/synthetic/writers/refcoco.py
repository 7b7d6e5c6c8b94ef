"""refCOCO: refs(unc).p and instances.json over the pictures of all splits."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np

from datasets.synthetic.catalog import CLASSES
from datasets.synthetic.draw import SeenThing
from datasets.synthetic.outlines import has_hole, to_polygons, to_rle
from datasets.synthetic.referring import Ref
from datasets.synthetic.writers.material import Material, write_bytes

IMAGES = "refer_seg/images/mscoco/images/train2014"
FOLDER = "refer_seg/refcoco"
# Ids of a picture's annotations, refs and sentences start here times its id.
ID_STEP = 100

CATEGORIES = [cls.name for cls in CLASSES] + [f"{part} of {cls.name}" for cls in CLASSES for part in cls.parts]


def write_picture(material: Material, root: Path) -> dict:
    """The picture; returns its entries of both files, and what its refs are like."""
    picture, image_id = material.picture, material.image_id
    stem = f"COCO_train2014_{image_id:012d}"
    write_bytes(root / IMAGES / f"{stem}.jpg", material.jpeg)
    height, width = picture.image.shape[:2]
    first = image_id * ID_STEP
    annotations = [_annotation(first + i, image_id, seen.thing.cls, seen.mask) for i, seen in enumerate(picture.things)]
    refs = []
    for ref in material.refs:
        if ref.part:
            seen = picture.things[ref.thing]
            category = f"{ref.part} of {seen.thing.cls}"
            annotations.append(_annotation(first + len(annotations), image_id, category, seen.parts[ref.part]))
            annotation = annotations[-1]
        else:
            annotation = annotations[ref.thing]
        refs.append(_ref(ref, annotation, stem, material.split, number=first + len(refs)))
    return {
        "image": {"id": image_id, "file_name": f"{stem}.jpg", "height": height, "width": width},
        "annotations": annotations,
        "refs": refs,
        "distracted": sum(_is_distracted(picture.things, ref.thing) for ref in material.refs),
    }


def _annotation(annotation_id: int, image_id: int, category: str, mask: np.ndarray) -> dict:
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORIES.index(category) + 1,
        "segmentation": [to_rle(mask)] if has_hole(mask) else to_polygons(mask),
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "area": len(rows),
        "iscrowd": 0,
    }


def _ref(ref: Ref, annotation: dict, stem: str, split: str, number: int) -> dict:
    sentences = [
        {
            "sent_id": number * 10 + i,
            "sent": sentence.text,
            "raw": sentence.text,
            "tokens": sentence.text.split(),
            "type": sentence.type,
        }
        for i, sentence in enumerate(ref.sentences)
    ]
    return {
        "ref_id": number,
        "ann_id": annotation["id"],
        "category_id": annotation["category_id"],
        "image_id": annotation["image_id"],
        "file_name": f"{stem}_{annotation['id']}.jpg",
        "split": split,
        "sent_ids": [s["sent_id"] for s in sentences],
        "sentences": sentences,
    }


def _is_distracted(things: tuple[SeenThing, ...], index: int) -> bool:
    """Whether another thing shares the class or the colour."""
    this = things[index].thing
    others = [seen.thing for i, seen in enumerate(things) if i != index]
    return any(other.cls == this.cls or other.colour == this.colour for other in others)


def write_index(records: list[dict], root: Path) -> dict:
    """refs(unc).p (protocol 2, plain lists and dicts) and instances.json."""
    # Pickle notes which strings are one object, and that depends on the workers; read anew, none are.
    refs = json.loads(json.dumps([ref for record in records for ref in record["refs"]]))
    instances = {
        "info": {"description": "A small drawn world", "version": "1"},
        "images": [record["image"] for record in records],
        "annotations": [annotation for record in records for annotation in record["annotations"]],
        "categories": [
            {"id": i, "name": name, "supercategory": "part" if " of " in name else "thing"}
            for i, name in enumerate(CATEGORIES, start=1)
        ],
    }
    write_bytes(root / FOLDER / "refs(unc).p", pickle.dumps(refs, protocol=2))
    write_bytes(root / FOLDER / "instances.json", json.dumps(instances).encode())
    return _counts(records)


def _counts(records: list[dict]) -> dict:
    """Per split: pictures, refs, sentences by type, and the two shares that say how hard it is."""
    counts = {}
    for split in sorted({ref["split"] for record in records for ref in record["refs"]}):
        mine = [r for r in records if r["refs"] and r["refs"][0]["split"] == split]
        refs = [ref for record in mine for ref in record["refs"]]
        types = Counter(s["type"] for ref in refs for s in ref["sentences"])
        hard = sum(types[kind] for kind in ("place", "size", "relation"))
        counts[split] = {
            "images": len(mine),
            "refs": len(refs),
            "sentences": sum(types.values()),
            "types": dict(sorted(types.items())),
            "share_needing_place_size_or_relation": round(hard / sum(types.values()), 4),
            "share_with_distractor": round(sum(r["distracted"] for r in mine) / len(refs), 4),
        }
    return counts
