"""ReasonSeg: one LabelMe-like json per picture, and explanations of some of the answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from datasets.synthetic.facts import canonical_name
from datasets.synthetic.writers.material import Material, write_bytes

FOLDERS = {"train": "train", "val": "val", "testA": "test", "testB": "test"}


def write_picture(material: Material, root: Path) -> dict | None:
    """The picture and its json; nothing where no question has a clear answer."""
    question, folder = material.question, FOLDERS.get(material.split)
    if question is None or folder is None:
        return None
    picture, stem = material.picture, f"{material.image_id:012d}"
    shapes = [s for i in question.targets for s in _shapes(material, i, canonical_name(picture, i))]
    shapes += [s for i in question.ignored for s in _shapes(material, i, "ignore")]
    everything = range(len(picture.things))
    record = {
        "text": list(question.texts),
        "is_sentence": question.is_sentence,
        "type": question.type,
        "shapes": shapes,
        "things": [s for i in everything for s in _shapes(material, i, canonical_name(picture, i))],
    }
    target = root / "reason_seg/ReasonSeg" / folder / stem
    write_bytes(target.with_suffix(".jpg"), material.jpeg)
    write_bytes(target.with_suffix(".json"), json.dumps(record).encode())
    return {
        "folder": folder,
        "type": question.type,
        "image": f"{stem}.jpg",
        "query": question.texts[0],
        "outputs": question.explanation,
    }


def _shapes(material: Material, index: int, label: str) -> list[dict]:
    """One shape per polygon of a thing."""
    polygons = material.polygons[index]
    points = [[[x, y] for x, y in zip(p[::2], p[1::2], strict=True)] for p in polygons]
    return [{"label": label, "points": p} for p in points]


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """explanatory/train.json: those training pictures that have an explanation."""
    explained = [r for r in records if r["folder"] == "train" and r["outputs"]]
    listed = [{key: r[key] for key in ("image", "query", "outputs")} for r in explained]
    write_bytes(root / "reason_seg/ReasonSeg/explanatory/train.json", json.dumps(listed).encode())
    counts = Counter(f"{r['folder']} {r['type']}" for r in records)
    return {"images": len(records), "explained": len(explained), **dict(sorted(counts.items()))}
