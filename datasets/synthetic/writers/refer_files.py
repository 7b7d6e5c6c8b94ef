"""What the datasets of the refer format share: records of pictures and refs, and the two files."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets.synthetic.referring import Ref, Sentence
from datasets.synthetic.writers.annotations import CATEGORIES, ID_STEP, refer_annotation
from datasets.synthetic.writers.material import Material, write_bytes


def mscoco_stem(image_id: int) -> str:
    """The name of a picture that all refer datasets but refCLEF share."""
    return f"COCO_train2014_{image_id:012d}"


def image_record(material: Material, file_name: str) -> dict:
    """The picture's entry of instances.json."""
    height, width = material.picture.image.shape[:2]
    return {"id": material.image_id, "file_name": file_name, "height": height, "width": width}


def annotations_and_refs(
    material: Material, refs: list[Ref], stem: str, split: str | None = None
) -> tuple[list[dict], list[dict]]:
    """Annotations of all things, then of the parts that are asked for; and a record for each ref."""
    things, first = material.picture.things, material.image_id * ID_STEP
    annotations, records = list(material.annotations), []
    for ref in refs:
        annotation = annotations[ref.thing]
        if ref.part:
            seen = things[ref.thing]
            category = f"{ref.part} of {seen.thing.cls}"
            number = first + len(annotations)
            annotations.append(refer_annotation(number, material.image_id, category, seen.parts[ref.part]))
            annotation = annotations[-1]
        records.append(ref_record(ref.sentences, annotation, stem, split or material.split, first + len(records)))
    return annotations, records


def ref_record(sentences: Iterable[Sentence], annotation: dict, stem: str, split: str, number: int) -> dict:
    """An entry of refs(*).p: one annotation and its sentences."""
    listed = sentence_records(sentences, number)
    return {
        "ref_id": number,
        "ann_id": annotation["id"],
        "category_id": annotation["category_id"],
        "image_id": annotation["image_id"],
        "file_name": f"{stem}_{annotation['id']}.jpg",
        "split": split,
        "sent_ids": [s["sent_id"] for s in listed],
        "sentences": listed,
    }


def sentence_records(sentences: Iterable[Sentence], number: int) -> list[dict]:
    """The sentences of ref `number`, at most ten; each with an extra key `type`."""
    return [
        {
            "sent_id": number * 10 + i,
            "sent": sentence.text,
            "raw": sentence.text,
            "tokens": sentence.text.split(),
            "type": sentence.type,
        }
        for i, sentence in enumerate(sentences)
    ]


def unshared(refs: list[dict]) -> list[dict]:
    """The same refs, without objects that occur twice.

    Pickle notes which strings are one object, and that depends on the workers; read anew, none are.
    """
    return json.loads(json.dumps(refs))


def write_refs(path: Path, refs: list[dict]) -> None:
    """refs(*).p: protocol 2, plain lists and dicts."""
    write_bytes(path, pickle.dumps(unshared(refs), protocol=2))


def write_instances(path: Path, records: list[dict]) -> None:
    """instances.json of records with "image" and "annotations"."""
    instances = {
        "info": {"description": "A small drawn world", "version": "1"},
        "images": [record["image"] for record in records],
        "annotations": [annotation for record in records for annotation in record["annotations"]],
        "categories": [
            {"id": i, "name": name, "supercategory": "part" if " of " in name else "thing"}
            for i, name in enumerate(CATEGORIES, start=1)
        ],
    }
    write_bytes(path, json.dumps(instances).encode())


def count_splits(refs: list[dict]) -> dict[str, dict]:
    """Per split: pictures, refs and sentences, by type."""
    counts = {}
    for split in sorted({ref["split"] for ref in refs}):
        mine = [ref for ref in refs if ref["split"] == split]
        types = Counter(sentence["type"] for ref in mine for sentence in ref["sentences"])
        counts[split] = {
            "images": len({ref["image_id"] for ref in mine}),
            "refs": len(mine),
            "sentences": sum(types.values()),
            "types": dict(sorted(types.items())),
        }
    return counts
