"""The sem_seg family: pictures whose pixels, or whose things and parts, have a class; asked for by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.images import read_label_map, read_picture
from datasets.label_maps import IGNORE, LABEL_MAPS, LabelledPictures
from datasets.masks import stack
from datasets.part_seg import PART_SETS, open_part_seg
from datasets.sample import Dataset, NothingToAskError, Sample, SampleOptions
from datasets.templates import answer, choose_some, short_question
from datasets.tree import Tree
from lisa.conversation import Conversation


class LabelMapSeg:
    """Pictures with label maps, each with some of the classes that are in it."""

    def __init__(self, data: str, labelled: LabelledPictures, options: SampleOptions) -> None:
        self.data = data
        self._labelled = labelled
        self._options = options

    def __len__(self) -> int:
        return len(self._labelled)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its classes, one conversation each."""
        image_path, label_path = self._labelled[index]
        picture = read_picture(image_path)
        label = self._classes(picture.align(read_label_map(label_path), str(label_path)), label_path)
        present = np.flatnonzero(np.bincount(label[label != IGNORE]))
        if len(present) == 0:
            raise NothingToAskError(f"{label_path}: no pixel has a class that could be asked for")
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


def open_sem_seg(place: Path | Tree, name: str, options: SampleOptions) -> Dataset:
    """A dataset of the family by its name."""
    tree = Tree.of(place)
    if name in LABEL_MAPS:
        return LabelMapSeg(name, LABEL_MAPS[name](tree), options)
    if name in PART_SETS:
        return open_part_seg(tree, name, options)
    known = ", ".join([*LABEL_MAPS, *PART_SETS])
    raise ValueError(f"no dataset of the sem_seg family is called {name!r}; known: {known}")
