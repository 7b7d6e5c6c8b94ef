"""ADE20K: an index map per training picture, 0 for "other", 1 to 150 for the official classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from datasets.synthetic.catalog import CLASS_BY_NAME, STUFF, ade20k_ids
from datasets.synthetic.draw import Picture
from datasets.synthetic.writers.material import Material, write_bytes


def write_picture(material: Material, root: Path) -> dict | None:
    """The picture and its label map."""
    if material.split != "train":
        return None
    stem = f"ADE_train_{material.image_id:08d}"
    png = cv2.imencode(".png", label_map(material.picture))[1].tobytes()
    write_bytes(root / "ade20k/images/training" / f"{stem}.jpg", material.jpeg)
    write_bytes(root / "ade20k/annotations/training" / f"{stem}.png", png)
    return {"stem": stem}


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """Nothing to list: the folder is the index."""
    return {"images": len(records)}


def label_map(picture: Picture) -> np.ndarray:
    """(H, W) uint8 official labels of stuff and things."""
    ids = ade20k_ids()
    labels = np.array([ids[name] for name in STUFF], np.uint8)[picture.stuff]
    for seen in picture.things:
        name = CLASS_BY_NAME[seen.thing.cls].ade20k
        labels[seen.mask] = ids[name] if name else 0
    return labels
