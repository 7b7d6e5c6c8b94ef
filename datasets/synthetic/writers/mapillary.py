"""Mapillary Vistas v2.0: config_v2.0.json with labels of our own, pictures, and palette PNGs."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.synthetic.catalog import STUFF
from datasets.synthetic.draw import Picture
from datasets.synthetic.writers.material import Material, write_bytes

# The pictures have a folder of their own, so only a share of them is written: of every five the last,
# which is always one of training.
SHARE, OFFSET = 5, 4
FOLDER = "mapillary"


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label of the config; its place in LABELS is its pixel value."""

    name: str
    readable: str
    color: tuple[int, int, int]
    covers: tuple[str, ...]
    """Our classes and stuff that it is right for."""
    instances: bool = False


LABELS: tuple[Label, ...] = (
    Label(name="animal--bird", readable="Bird", color=(165, 42, 42), covers=("bird",), instances=True),
    Label(name="animal--fish", readable="Fish", color=(0, 192, 0), covers=("fish",), instances=True),
    Label(name="construction--flat--road", readable="Road", color=(128, 64, 128), covers=("road",)),
    Label(name="construction--structure--building", readable="Building", color=(70, 70, 70), covers=("house",)),
    Label(name="construction--structure--tent", readable="Tent", color=(150, 100, 100), covers=("tent",)),
    Label(name="nature--mountain", readable="Mountain", color=(64, 170, 64), covers=("mountain", "hill")),
    Label(name="nature--sand", readable="Sand", color=(230, 160, 50), covers=("sand",)),
    Label(name="nature--sky", readable="Sky", color=(70, 130, 180), covers=("sky",)),
    Label(name="nature--terrain", readable="Terrain", color=(152, 251, 152), covers=("grass", "field")),
    Label(name="nature--vegetation", readable="Vegetation", color=(107, 142, 35), covers=("tree", "flower")),
    Label(name="nature--water", readable="Water", color=(0, 170, 30), covers=("water",)),
    Label(name="object--chair", readable="Chair", color=(250, 170, 30), covers=("chair",), instances=True),
    Label(name="object--street-light", readable="Street Light", color=(210, 170, 100), covers=("lamp",)),
    Label(name="object--vehicle--airplane", readable="Airplane", color=(0, 0, 90), covers=("airplane",)),
    Label(name="object--vehicle--boat", readable="Boat", color=(150, 0, 255), covers=("boat",), instances=True),
    Label(name="object--vehicle--bus", readable="Bus", color=(0, 60, 100), covers=("bus",), instances=True),
    Label(name="object--vehicle--car", readable="Car", color=(0, 0, 142), covers=("car",), instances=True),
    Label(name="void--unlabeled", readable="Unlabeled", color=(0, 0, 0), covers=()),
)
UNLABELED = len(LABELS) - 1
VALUE_OF = {covered: value for value, label in enumerate(LABELS) for covered in label.covers}


def write_picture(material: Material, root: Path) -> dict | None:
    """A picture and its label map."""
    if material.picture.scene.index % SHARE != OFFSET:
        return None
    stem = f"drawn-{material.image_id:08d}"
    write_bytes(root / FOLDER / "training/images" / f"{stem}.jpg", material.jpeg)
    write_bytes(root / FOLDER / "training/v2.0/labels" / f"{stem}.png", _palette_png(label_map(material.picture)))
    return {"stem": stem}


def write_index(records: list[dict], root: Path) -> dict[str, int]:
    """config_v2.0.json."""
    config = {
        "version": "2.0",
        "mapping": "public",
        "folder_structure": "{split}/v2.0/{content}/{image_id}.{extension}",
        "labels": [
            {
                "name": label.name,
                "readable": label.readable,
                "instances": label.instances,
                "evaluate": value != UNLABELED,
                "color": list(label.color),
            }
            for value, label in enumerate(LABELS)
        ],
    }
    write_bytes(root / FOLDER / "config_v2.0.json", json.dumps(config, indent=1).encode())
    return {"images": len(records)}


def label_map(picture: Picture) -> np.ndarray:
    """(H, W) uint8 places in LABELS."""
    labels = np.array([VALUE_OF.get(name, UNLABELED) for name in STUFF], np.uint8)[picture.stuff]
    for seen in picture.things:
        labels[seen.mask] = VALUE_OF.get(seen.thing.cls, UNLABELED)
    return labels


def _palette_png(labels: np.ndarray) -> bytes:
    image = Image.fromarray(labels, mode="L")
    image.putpalette([channel for label in LABELS for channel in label.color])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
