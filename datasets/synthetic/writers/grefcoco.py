"""gRefCOCO: grefs(unc).json and instances.json; one thing, several or none, over the pictures of refCOCO."""

from __future__ import annotations

import json
from pathlib import Path

from datasets.synthetic.groups import Group, make_groups
from datasets.synthetic.writers.annotations import ID_STEP
from datasets.synthetic.writers.material import Material, write_bytes
from datasets.synthetic.writers.refer_files import (
    count_splits,
    image_record,
    mscoco_stem,
    sentence_records,
    write_instances,
)

FOLDER = "refer_seg/grefcoco"
NO_TARGET = -1


def write_picture(material: Material, root: Path) -> dict:
    """Returns the picture's entries of both files; the picture itself is written with refCOCO."""
    stem = mscoco_stem(material.image_id)
    groups = make_groups(material.picture, material.refs)
    return {
        "image": image_record(material, f"{stem}.jpg"),
        "annotations": material.annotations,
        "refs": [_gref(group, material, i) for i, group in enumerate(groups)],
    }


def _gref(group: Group, material: Material, order: int) -> dict:
    """An entry of grefs(unc).json: lists of ids, [-1] where nothing fits."""
    number = material.image_id * ID_STEP + order
    targets = [material.annotations[i] for i in sorted(group.targets)]
    sentences = sentence_records(group.sentences, number)
    return {
        "ref_id": number,
        "ann_id": [annotation["id"] for annotation in targets] or [NO_TARGET],
        "category_id": sorted({annotation["category_id"] for annotation in targets}) or [NO_TARGET],
        "image_id": material.image_id,
        "file_name": f"{mscoco_stem(material.image_id)}.jpg",
        "split": material.split,
        "no_target": not targets,
        "sent_ids": [s["sent_id"] for s in sentences],
        "sentences": sentences,
    }


def write_index(records: list[dict], root: Path) -> dict[str, dict]:
    """grefs(unc).json and instances.json."""
    refs = [ref for record in records for ref in record["refs"]]
    write_bytes(root / FOLDER / "grefs(unc).json", json.dumps(refs).encode())
    write_instances(root / FOLDER / "instances.json", records)
    counts = count_splits(refs)
    for split, count in counts.items():
        mine = [ref for ref in refs if ref["split"] == split]
        count["no_target"] = sum(ref["no_target"] for ref in mine)
        count["several"] = sum(len(ref["ann_id"]) > 1 for ref in mine)
    return counts
