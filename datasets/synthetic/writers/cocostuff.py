"""COCO-Stuff: an index map for each training picture of COCO's folder; 0 to 181 are classes, 255 is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from datasets.synthetic.catalog import STUFF
from datasets.synthetic.draw import Picture
from datasets.synthetic.writers.material import Material, write_bytes

UNLABELLED = 255

# Pixel values, which are the official ids less one. Names with a "-" are left out: LISA does not ask for them.
THINGS = {
    "car": 2,
    "airplane": 4,
    "bus": 5,
    "boat": 8,
    "bird": 15,
    "umbrella": 27,
    "ball": 36,  # sports ball
    "bottle": 43,
    "cup": 46,
    "apple": 52,
    "chair": 61,
    "flower": 118,
    "house": 127,
    "lamp": 129,  # light
    "tent": 165,
    "tree": 168,
}
SEA, RIVER = 154, 147
# Nothing in the list is a field; water depends on its shore.
GROUND = {"grass": 123, "hill": 126, "mountain": 134, "road": 148, "sand": 153, "sky": 156}


def write_picture(material: Material, root: Path) -> dict | None:
    """The label map of coco/train2017/*.jpg, which another writer draws."""
    if material.split != "train":
        return None
    png = cv2.imencode(".png", label_map(material.picture))[1].tobytes()
    write_bytes(root / "cocostuff/train2017" / f"{material.image_id:012d}.png", png)
    return {"id": material.image_id}


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """Nothing to list: the folder is the index."""
    return {"images": len(records)}


def label_map(picture: Picture) -> np.ndarray:
    """(H, W) uint8 pixel values of stuff and things."""
    # Between meadows runs a river; at a beach, or all around, lies the sea.
    water = RIVER if "grass" in picture.scene.ground else SEA
    values = {**GROUND, "water": water}
    labels = np.array([values.get(name, UNLABELLED) for name in STUFF], np.uint8)[picture.stuff]
    for seen in picture.things:
        labels[seen.mask] = THINGS.get(seen.thing.cls, UNLABELLED)
    return labels
