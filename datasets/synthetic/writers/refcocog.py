"""refCOCOg: refs(umd).p, refs(google).p and instances.json; longer sentences, over the pictures of refCOCO."""

from __future__ import annotations

from pathlib import Path

from datasets.synthetic.descriptions import make_descriptions
from datasets.synthetic.writers.material import Material
from datasets.synthetic.writers.refer_files import (
    annotations_and_refs,
    count_splits,
    image_record,
    mscoco_stem,
    write_instances,
    write_refs,
)

FOLDER = "refer_seg/refcocog"
# The real google split has no public test part; what is not for training is for validation.
SPLITS = {
    "umd": {"train": "train", "val": "val", "testA": "test", "testB": "test", "composition": "composition"},
    "google": {"train": "train", "val": "val", "testA": "val", "testB": "val", "composition": "composition"},
}


def write_picture(material: Material, root: Path) -> dict:
    """Returns the picture's entries of the files; the picture itself is written with refCOCO."""
    stem = mscoco_stem(material.image_id)
    annotations, refs = annotations_and_refs(material, make_descriptions(material.picture), stem)
    return {"image": image_record(material, f"{stem}.jpg"), "annotations": annotations, "refs": refs}


def write_index(records: list[dict], root: Path) -> dict[str, dict]:
    """refs(umd).p, refs(google).p and instances.json."""
    counts = {}
    for split_by, names in SPLITS.items():
        refs = [{**ref, "split": names[ref["split"]]} for record in records for ref in record["refs"]]
        write_refs(root / FOLDER / f"refs({split_by}).p", refs)
        counts[split_by] = count_splits(refs)
    write_instances(root / FOLDER / "instances.json", records)
    return counts
