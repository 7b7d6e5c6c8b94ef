"""LLaVA-Instruct-150k: conversations in words about the training pictures."""

from __future__ import annotations

import json
from pathlib import Path

from datasets.synthetic.writers.material import Material, write_bytes


def write_picture(material: Material, root: Path) -> dict | None:
    """The picture in COCO's folder; returns its item of the list."""
    if material.split != "train":
        return None
    stem = f"{material.image_id:012d}"
    write_bytes(root / "coco/train2017" / f"{stem}.jpg", material.jpeg)
    turns = []
    for i, exchange in enumerate(material.dialogue):
        question = f"<image>\n{exchange.question}" if i == 0 else exchange.question
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": exchange.answer}]
    return {"id": stem, "image": f"{stem}.jpg", "conversations": turns}


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """llava_instruct_150k.json."""
    write_bytes(root / "llava_dataset/llava_instruct_150k.json", json.dumps(records).encode())
    return {"images": len(records), "exchanges": sum(len(item["conversations"]) // 2 for item in records)}
