"""Validation sets: every picture of a split with all its questions, in the reference's fixed words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.files import require_folder
from datasets.images import image_size, read_picture
from datasets.masks import rasterise, stack
from datasets.own import OwnValidation
from datasets.reason_seg import LAYOUT, load_reason_split, paint
from datasets.refer import load_refer
from datasets.refs import UnknownSplitError
from datasets.sample import Sample
from datasets.templates import VALIDATION_ANSWER, validation_question
from datasets.tree import Tree
from lisa.conversation import Conversation


class ValidationSet(Protocol):
    """Pictures of one split, in a fixed order; nothing is random."""

    spec: str
    num_samples: int
    """Conversations over all pictures."""

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def sample(self, index: int) -> Sample:
        """Picture `index` with all its conversations; each question is answered by "[SEG]."."""
        ...

    def train_masks(self, limit: int) -> Iterator[np.ndarray]:
        """Up to `limit` (h, w) bool masks of the same dataset's train split; none without such a split."""
        ...


def open_validation(place: Path | Tree, spec: str) -> ValidationSet:
    """A validation set by its spec: "refcoco|unc|val" or "ReasonSeg|val", or of the user's own: "own|my.jsonl".

    Referring sets are found below refer_seg, and also in the root itself, as the reference wants it.
    """
    tree = Tree.of(place)
    match spec.split("|"):
        case ["own", *source]:
            return OwnValidation("|".join(source))
        case [name, split_by, split]:
            if not (tree / "refer_seg").is_dir() and (tree / name).is_dir():
                tree = replace(tree, elsewhere=tree.elsewhere | {"refer_seg": tree.root})
            return ReferValidation(tree, name, split_by, split)
        case [name, split]:
            return ReasonValidation(tree / f"reason_seg/{name}", split)
    raise ValueError(f'no validation set {spec!r}; write "refcoco|unc|val" (dataset|split by|split) or "ReasonSeg|val"')


class ReferValidation:
    """A split of a dataset of the refer format, one conversation per phrase."""

    def __init__(self, tree: Tree, name: str, split_by: str, split: str) -> None:
        self.spec = f"{name}|{split_by}|{split}"
        self._tree, self._name, self._split_by = tree, name, split_by
        self._pictures = load_refer(tree, name, split_by, split, with_things=True)
        self.num_samples = self._pictures.num_sentences

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int) -> Sample:
        """Picture `index` with every phrase of the split, in file order."""
        record = self._pictures[index]
        picture = read_picture(record.path)
        pairs = record.pairs
        return Sample(
            data=self.spec,
            image_id=record.image_id,
            image_path=record.path,
            image=picture.pixels,
            conversations=tuple(_asked(phrase.text, is_sentence=False) for _, phrase in pairs),
            masks=record.masks([target.parts for target, _ in pairs], picture),
            ignore=np.zeros(picture.size, dtype=bool),
            names=tuple(target.name for target, _ in pairs),
            types=tuple(phrase.kind for _, phrase in pairs),
            things=record.masks(record.things, picture),
        )

    def train_masks(self, limit: int) -> Iterator[np.ndarray]:
        """One mask per thing that is referred to in training; the file is read again for it."""
        try:
            pictures = load_refer(self._tree, self._name, self._split_by, "train")
        except UnknownSplitError:
            return
        targets = ((picture, target) for picture in pictures for target in picture.targets)
        for picture, target in islice(targets, limit):
            yield rasterise(target.parts, picture.height, picture.width)


class ReasonValidation:
    """A split of ReasonSeg, one conversation per picture: the first text."""

    def __init__(self, root: Path, split: str) -> None:
        require_folder(root, LAYOUT.format(name=root.name, split=split))
        self.spec = f"{root.name}|{split}"
        self._root = root
        self._pictures = [picture for part in split.split("_") for picture in load_reason_split(root, part)]
        self.num_samples = len(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int) -> Sample:
        """Picture `index` with its first text."""
        record = self._pictures[index]
        picture = read_picture(record.path)
        target, ignore = record.regions(picture)
        things = record.things
        if things is not None:
            things = stack([thing.mask(*picture.size) for thing in things], *picture.size)
        return Sample(
            data=self.spec,
            image_id=record.path.stem,
            image_path=record.path,
            image=picture.pixels,
            conversations=(_asked(record.texts[0], record.is_sentence),),
            masks=target[None],
            ignore=ignore,
            names=(record.name,),
            types=(record.kind,),
            things=things,
        )

    def train_masks(self, limit: int) -> Iterator[np.ndarray]:
        """One mask per training picture; ignored pixels are false."""
        if not (self._root / "train").is_dir():
            return
        for record in load_reason_split(self._root, "train")[:limit]:
            yield paint(record.shapes, *image_size(record.path))[0]


def _asked(text: str, is_sentence: bool) -> Conversation:
    return Conversation.of(validation_question(text, is_sentence), VALIDATION_ANSWER)
