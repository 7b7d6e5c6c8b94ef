"""Every pixel has a class: pictures and label maps of ADE20K, COCO-Stuff and Mapillary Vistas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.files import field, missing, open_json, require_file, require_folder
from datasets.templates import check_text
from datasets.tree import Tree
from lisa.image_files import list_folder

IGNORE = -1
"""The class of a pixel that belongs to none."""
UNLABELED = "unlabeled"
"""A name that says of a pixel that it has no class; the reference asks for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledPictures:
    """A dataset of pictures with a label map each."""

    images: Path
    labels: Path
    stems: np.ndarray  # (N,) text: <stem>.jpg in images, <stem>.png in labels
    classes: tuple[str, ...]  # names, by class
    class_of_id: np.ndarray  # (number of ids,) int: the class of a pixel value, IGNORE for none

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> tuple[Path, Path]:
        """Picture and label map."""
        return self.images / f"{self.stems[index]}.jpg", self.labels / f"{self.stems[index]}.png"


def load_ade20k(tree: Tree) -> LabelledPictures:
    """ADE20K: pixel value 1 is the first of 150 classes; 0 ("other") and 255 are none."""
    layout = "  ade20k/images/training/*.jpg\n  ade20k/annotations/training/*.png"
    class_of_id = np.arange(256, dtype=np.int16) - 1
    class_of_id[[0, 255]] = IGNORE
    return LabelledPictures(
        **_pair_up(tree / "ade20k/images/training", tree / "ade20k/annotations/training", layout),
        classes=read_class_names("ade20k"),
        class_of_id=class_of_id,
    )


def load_cocostuff(tree: Tree) -> LabelledPictures:
    """COCO-Stuff: pixel value 0 is the first of 182 classes; 255 is none, nor are the classes with "-" in their name.

    Those (wall-brick, ceiling-other, ...) are no words that a person would say. Pictures without a label map are
    left out, because the folder of pictures serves other datasets too.
    """
    layout = "  coco/train2017/*.jpg\n  cocostuff/train2017/*.png"
    classes = read_class_names("cocostuff")
    class_of_id = np.full(256, IGNORE, dtype=np.int16)
    for number, name in enumerate(classes):
        class_of_id[number] = IGNORE if "-" in name else number
    class_of_id[len(classes) : 255] = len(classes)  # no class: refused where it occurs
    return LabelledPictures(
        **_pair_up(tree / "coco/train2017", tree / "cocostuff/train2017", layout, all_pictures=False),
        classes=classes,
        class_of_id=class_of_id,
    )


def load_mapillary(tree: Tree) -> LabelledPictures:
    """Mapillary Vistas 2.0: the labels of config_v2.0.json in order; "unlabeled" and 255 are none."""
    layout = "  mapillary/config_v2.0.json\n  mapillary/training/images/*.jpg\n  mapillary/training/v2.0/labels/*.png"
    config = require_file(tree / "mapillary/config_v2.0.json", layout)
    labels = field(open_json(config), "labels", list, str(config))
    where = [f"{config}: labels[{number}]" for number in range(len(labels))]
    names = [check_text(field(label, "readable", str, w), w).lower() for label, w in zip(labels, where, strict=True)]
    class_of_id = np.arange(max(256, len(names)), dtype=np.int16).clip(max=len(names))
    class_of_id[[number for number, name in enumerate(names) if name == UNLABELED]] = IGNORE
    if len(names) <= 255:
        class_of_id[255] = IGNORE
    training = tree / "mapillary/training"
    return LabelledPictures(
        **_pair_up(training / "images", training / "v2.0/labels", layout),
        classes=tuple(names),
        class_of_id=class_of_id,
    )


LABEL_MAPS = {"ade20k": load_ade20k, "cocostuff": load_cocostuff, "mapillary": load_mapillary}


def read_class_names(dataset: str) -> tuple[str, ...]:
    """The official names of a dataset's classes, in their order."""
    path = Path(__file__).with_name("classes") / f"{dataset}.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())


def _pair_up(images: Path, labels: Path, layout: str, *, all_pictures: bool = True) -> dict:
    """Pictures (*.jpg) and label maps (*.png) of equal stem, sorted; each must have its counterpart.

    Unless `all_pictures`, a picture may do without.
    """
    require_folder(images, layout)
    require_folder(labels, layout)
    pictures, maps = (
        {path.stem for path in list_folder(folder, end) if path.suffix == end}
        for folder, end in ((images, ".jpg"), (labels, ".png"))
    )
    if not maps or not pictures:
        raise missing(labels / "*.png" if pictures else images / "*.jpg", layout)
    for stem in sorted(pictures ^ maps if all_pictures else maps - pictures):
        here, there = (images / f"{stem}.jpg", labels) if stem in pictures else (labels / f"{stem}.png", images)
        raise FileNotFoundError(
            f"{here}: has no counterpart in {there} ({len(pictures)} pictures, {len(maps)} label maps); "
            "complete the dataset or remove the file"
        )
    return {"images": images, "labels": labels, "stems": np.array(sorted(maps))}
