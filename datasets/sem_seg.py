"""The sem_seg family: pictures whose every pixel has a class; asked for by the name of the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.files import require_folder
from datasets.images import read_label_map, read_picture
from datasets.masks import stack
from datasets.sample import Sample, SampleOptions
from datasets.templates import answer, check_text, choose_some, short_question
from lisa.conversation import Conversation

IGNORE = -1
"""The class of a pixel that belongs to none."""


@dataclass(frozen=True, kw_only=True)
class LabelledPictures:
    """A dataset of pictures with a label map each."""

    pairs: tuple[tuple[Path, Path], ...]  # picture, label map
    classes: tuple[str, ...]  # names, by class
    class_of_id: np.ndarray  # (number of ids,) int: the class of a pixel value, IGNORE for none


class LabelMapSeg:
    """Pictures with label maps, each with some of the classes that are in it."""

    def __init__(self, data: str, labelled: LabelledPictures, options: SampleOptions) -> None:
        self.data = data
        self._labelled = labelled
        self._options = options

    def __len__(self) -> int:
        return len(self._labelled.pairs)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its classes, one conversation each."""
        image_path, label_path = self._labelled.pairs[index]
        picture = read_picture(image_path)
        label = self._classes(picture.align(read_label_map(label_path), str(label_path)), label_path)
        present = np.flatnonzero(np.bincount(label[label != IGNORE]))
        if len(present) == 0:
            raise ValueError(
                f"{label_path}: no pixel is labelled with a class, so there is nothing to ask; "
                "remove this label map and its picture"
            )
        chosen = choose_some(rng, present, self._options.num_classes_per_sample)
        names = tuple(self._labelled.classes[c] for c in chosen)
        return Sample(
            data=self.data,
            image_id=image_path.stem,
            image_path=image_path,
            image=picture.pixels,
            conversations=tuple(self._conversation(name, rng) for name in names),
            masks=stack([label == c for c in chosen], *picture.size),
            ignore=label == IGNORE,
            names=names,
            types=("",) * len(names),
        )

    def _conversation(self, name: str, rng: np.random.Generator) -> Conversation:
        return Conversation.of(short_question(rng, name), answer(rng, name, self._options.name_targets))

    def _classes(self, ids: np.ndarray, source: Path) -> np.ndarray:
        """Pixel values -> classes, (H, W) int, IGNORE where there is none."""
        class_of_id, num_classes = self._labelled.class_of_id, len(self._labelled.classes)
        low, high = ids.min(), ids.max()
        if low >= 0 and high < len(class_of_id):
            label = class_of_id[ids]
            if label.max() < num_classes:
                return label
        raise ValueError(
            f"{source}: holds pixel values from {low} to {high}, but {self.data} has {num_classes} classes; "
            "it is the label map of another dataset, or damaged"
        )


def open_sem_seg(dataset_dir: Path, name: str, options: SampleOptions) -> LabelMapSeg:
    """A dataset of the family by its name."""
    if name not in SEM_SEG:
        raise ValueError(f"no dataset of the sem_seg family is called {name!r}; known: {', '.join(SEM_SEG)}")
    return LabelMapSeg(name, SEM_SEG[name](dataset_dir), options)


def load_ade20k(dataset_dir: Path) -> LabelledPictures:
    """ADE20K: pixel value 1 is the first of 150 classes; 0 ("other") and 255 are none."""
    layout = "  ade20k/images/training/*.jpg\n  ade20k/annotations/training/*.png"
    classes = read_class_names(Path(__file__).with_name("ade20k_classes.txt"))
    class_of_id = np.arange(256, dtype=np.int16) - 1
    class_of_id[[0, 255]] = IGNORE
    images = require_folder(dataset_dir / "ade20k/images/training", layout)
    labels = require_folder(dataset_dir / "ade20k/annotations/training", layout)
    return LabelledPictures(pairs=pair_up(images, labels, layout), classes=classes, class_of_id=class_of_id)


SEM_SEG: dict[str, Callable[[Path], LabelledPictures]] = {"ade20k": load_ade20k}


def read_class_names(path: Path) -> tuple[str, ...]:
    """One name per line, in the order of the classes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(check_text(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1))


def pair_up(images: Path, labels: Path, layout: str) -> tuple[tuple[Path, Path], ...]:
    """Pictures (*.jpg) and label maps (*.png) of equal stem, sorted; each must have its counterpart."""
    pictures = {path.stem: path for path in images.glob("*.jpg")}
    maps = {path.stem: path for path in labels.glob("*.png")}
    if not pictures:
        raise FileNotFoundError(f"{images}: holds no picture. Expected under the dataset folder:\n{layout}")
    for stem in sorted(pictures.keys() ^ maps.keys()):
        here, there = (pictures[stem], labels) if stem in pictures else (maps[stem], images)
        raise FileNotFoundError(
            f"{here}: has no counterpart in {there} ({len(pictures)} pictures, {len(maps)} label maps); "
            "complete the dataset or remove the file"
        )
    return tuple((pictures[stem], maps[stem]) for stem in sorted(pictures))
