"""refCLEF: refs(unc).p and instances.json over pictures in saiapr_tc-12, with masks as lists of RLEs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from datasets.synthetic.outlines import to_rle
from datasets.synthetic.writers.material import Material, write_bytes
from datasets.synthetic.writers.refer_files import (
    annotations_and_refs,
    count_splits,
    image_record,
    write_instances,
    write_refs,
)

FOLDER = "refer_seg/refclef"
IMAGES = "refer_seg/images/saiapr_tc-12"
# The pictures have a folder of their own, so of training only one in five is written.
TRAIN_SHARE, TRAIN_OFFSET = 5, 4
# The third test split is the pairs of class and colour that training never shows.
SPLITS = {"train": "train", "val": "val", "testA": "testA", "testB": "testB", "composition": "testC"}
# One name for two splits, as the real file has it: every second picture of testA is one of testB too.
COMBINED, COMBINED_SHARE, COMBINED_OFFSET = "testAB", 40, 21


def split_name(split: str, index: int) -> str:
    """What the file calls the split of picture `index`."""
    return COMBINED if index % COMBINED_SHARE == COMBINED_OFFSET else SPLITS[split]


def write_picture(material: Material, root: Path) -> dict | None:
    """The picture; returns its entries of both files."""
    index = material.picture.scene.index
    if material.split == "train" and index % TRAIN_SHARE != TRAIN_OFFSET:
        return None
    folder, stem = f"{material.image_id // 1000:02d}/images", str(material.image_id)
    write_bytes(root / IMAGES / folder / f"{stem}.jpg", material.jpeg)
    split = split_name(material.split, index)
    annotations, refs = annotations_and_refs(material, material.refs, f"{folder}/{stem}", split)
    masks = [seen.mask for seen in material.picture.things]
    masks += [material.picture.things[ref.thing].parts[ref.part] for ref in material.refs if ref.part]
    return {
        "image": image_record(material, f"{folder}/{stem}.jpg"),
        "annotations": [
            {**annotation, "segmentation": _pieces(mask)} for annotation, mask in zip(annotations, masks, strict=True)
        ],
        "refs": refs,
    }


def _pieces(mask: np.ndarray) -> list[dict]:
    """One RLE for each connected piece of an (H, W) bool mask."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [to_rle(labels == i) for i in range(1, count)]


def write_index(records: list[dict], root: Path) -> dict[str, dict]:
    """refs(unc).p and instances.json."""
    refs = [ref for record in records for ref in record["refs"]]
    write_refs(root / FOLDER / "refs(unc).p", refs)
    write_instances(root / FOLDER / "instances.json", records)
    return count_splits(refs)
