"""refCOCO: refs(unc).p and instances.json over the pictures of all splits."""

from __future__ import annotations

from pathlib import Path

from datasets.synthetic.draw import SeenThing
from datasets.synthetic.writers.material import Material, write_bytes
from datasets.synthetic.writers.refer_files import (
    annotations_and_refs,
    count_splits,
    image_record,
    mscoco_stem,
    write_instances,
    write_refs,
)

IMAGES = "refer_seg/images/mscoco/images/train2014"
FOLDER = "refer_seg/refcoco"
HARD_TYPES = ("place", "size", "relation")


def write_picture(material: Material, root: Path) -> dict:
    """The picture, for all refer datasets; returns its entries of both files, and what its refs are like."""
    stem = mscoco_stem(material.image_id)
    write_bytes(root / IMAGES / f"{stem}.jpg", material.jpeg)
    annotations, refs = annotations_and_refs(material, material.refs, stem)
    things = material.picture.things
    return {
        "image": image_record(material, f"{stem}.jpg"),
        "annotations": annotations,
        "refs": refs,
        "distracted": sum(_is_distracted(things, ref.thing) for ref in material.refs),
    }


def _is_distracted(things: tuple[SeenThing, ...], index: int) -> bool:
    """Whether another thing shares the class or the colour."""
    this = things[index].thing
    others = [seen.thing for i, seen in enumerate(things) if i != index]
    return any(other.cls == this.cls or other.colour == this.colour for other in others)


def write_index(records: list[dict], root: Path) -> dict:
    """refs(unc).p and instances.json."""
    refs = [ref for record in records for ref in record["refs"]]
    write_refs(root / FOLDER / "refs(unc).p", refs)
    write_instances(root / FOLDER / "instances.json", records)
    counts = count_splits(refs)
    for split, count in counts.items():
        # The two shares that say how hard it is.
        mine = [r for r in records if r["refs"] and r["refs"][0]["split"] == split]
        hard = sum(count["types"].get(kind, 0) for kind in HARD_TYPES)
        count["share_needing_place_size_or_relation"] = round(hard / count["sentences"], 4)
        count["share_with_distractor"] = round(sum(r["distracted"] for r in mine) / count["refs"], 4)
    return counts
