"""The official miniature tree, and small trees made by hand."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDENS = Path(__file__).parent.parent / "goldens/minidata"
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="session")
def minidata() -> Path:
    """A tree in the official formats."""
    return GOLDENS / "dataset"


@pytest.fixture
def save_picture() -> Callable[..., Path]:
    """Write a picture; with `orientation` the file says that it lies on its side."""

    def save(path: Path, pixels: np.ndarray, orientation: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None:
            exif[EXIF_ORIENTATION] = orientation
        Image.fromarray(pixels).save(path, exif=exif)
        return path

    return save


@pytest.fixture
def refcoco(tmp_path: Path, save_picture: Callable[..., Path]) -> ReferTree:
    """A refcoco of one train picture, 8 px high and 6 wide, with one ref to its left half."""
    tree = ReferTree(tmp_path)
    save_picture(tree.image, np.zeros((8, 6, 3), np.uint8))
    tree.write()
    return tree


class ReferTree:
    """Records of a refcoco that a test may damage before it writes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.image = root / "refer_seg/images/mscoco/images/train2014/a.jpg"
        self.refs_path = root / "refer_seg/refcoco/refs(unc).p"
        self.instances_path = root / "refer_seg/refcoco/instances.json"
        sentences = [{"sent": "The Left half ", "type": "place"}, {"sent": "dark side"}]
        self.ref = {"ref_id": 70, "ann_id": 5, "image_id": 1, "split": "train", "sentences": sentences}
        self.refs: object = [self.ref]
        self.picture = {"id": 1, "file_name": "a.jpg", "height": 8, "width": 6}
        self.annotation = {
            "id": 5,
            "image_id": 1,
            "category_id": 3,
            "segmentation": [[0, 0, 3, 0, 3, 8, 0, 8]],
        }
        self.annotations = [self.annotation]
        self.categories = [{"id": 3, "name": "house"}, {"id": 4, "name": "roof of house"}]

    def write(self) -> None:
        """Write both files."""
        self.refs_path.parent.mkdir(parents=True, exist_ok=True)
        self.refs_path.write_bytes(pickle.dumps(self.refs, protocol=2))
        tables = {"images": [self.picture], "annotations": self.annotations, "categories": self.categories}
        self.instances_path.write_text(json.dumps(tables))


@pytest.fixture
def reason_seg(tmp_path: Path, save_picture: Callable[..., Path]) -> ReasonTree:
    """A ReasonSeg of one train picture, 8 px high and 6 wide, whose left half is the target."""
    tree = ReasonTree(tmp_path)
    save_picture(tree.split / "a.jpg", np.zeros((8, 6, 3), np.uint8))
    tree.write()
    return tree


class ReasonTree:
    """The record of a ReasonSeg picture that a test may damage before it writes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "reason_seg/ReasonSeg"
        self.split = self.folder / "train"
        self.record = {
            "text": ["Where is it dark?", "Which side has no light?"],
            "is_sentence": True,
            "shapes": [{"label": "target", "points": [[0, 0], [3, 0], [3, 8], [0, 8]]}],
        }
        self.explanations: object = []

    def write(self) -> None:
        """Write the json beside the picture, and the explanations."""
        (self.folder / "explanatory").mkdir(exist_ok=True)
        (self.folder / "explanatory/train.json").write_text(json.dumps(self.explanations))
        (self.split / "a.json").write_text(json.dumps(self.record))
