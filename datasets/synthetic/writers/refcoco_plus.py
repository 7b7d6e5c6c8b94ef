"""refCOCO+: refs(unc).p and instances.json; sentences by looks alone, over the pictures of refCOCO."""

from __future__ import annotations

from pathlib import Path

from datasets.synthetic.appearance import make_appearance_refs
from datasets.synthetic.writers.material import Material
from datasets.synthetic.writers.refer_files import (
    annotations_and_refs,
    count_splits,
    image_record,
    mscoco_stem,
    write_instances,
    write_refs,
)

FOLDER = "refer_seg/refcoco+"


def write_picture(material: Material, root: Path) -> dict:
    """Returns the picture's entries of both files; the picture itself is written with refCOCO."""
    stem = mscoco_stem(material.image_id)
    annotations, refs = annotations_and_refs(material, make_appearance_refs(material.picture), stem)
    return {"image": image_record(material, f"{stem}.jpg"), "annotations": annotations, "refs": refs}


def write_index(records: list[dict], root: Path) -> dict[str, dict]:
    """refs(unc).p and instances.json."""
    refs = [ref for record in records for ref in record["refs"]]
    write_refs(root / FOLDER / "refs(unc).p", refs)
    write_instances(root / FOLDER / "instances.json", records)
    return count_splits(refs)
