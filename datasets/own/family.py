"""The own family: data of the user's own, by path; the format is told by what the path is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.masks import stack
from datasets.own.coco import CocoInstances
from datasets.own.jsonl import JsonLines
from datasets.own.labelme import LabelMe
from datasets.own.pairs import CLASS_FILES, PairedMasks
from datasets.own.records import Asked, OwnPicture, OwnPictures
from datasets.sample import Sample, SampleOptions
from datasets.templates import (
    IMAGE_LINE,
    VALIDATION_ANSWER,
    answer,
    choose_some,
    is_question,
    short_question,
    validation_question,
)
from lisa.conversation import Conversation
from lisa.image_files import list_below, list_folder

FORMATS = """\
  FILE.jsonl   a conversation per line
  FILE.json    COCO instances; pictures beside it or in images/
  FOLDER       LabelMe json files, also in folders below
  FOLDER       with images/ and masks/, files of the same name
  ...|IMAGES   any of them, or a folder of masks, with the pictures in the folder IMAGES
docs/own-data.md tells more."""


class OwnSeg:
    """Training pictures of the user's own, each with some of what is asked about it."""

    def __init__(self, data: str, pictures: OwnPictures, options: SampleOptions) -> None:
        self.data = data
        self._pictures = pictures
        self._options = options

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its conversations.

        Conversations of the user's own are taken word by word.
        """
        record = self._pictures[index]
        chosen = choose_some(rng, record.asked, self._options.num_classes_per_sample)
        return _sample(self.data, record, chosen, [self._conversation(asked, rng) for asked in chosen])

    def _conversation(self, asked: Asked, rng: np.random.Generator) -> Conversation:
        if asked.conversation is not None:
            return asked.conversation
        name = asked.names[0]
        if is_question(name):
            return Conversation.of(IMAGE_LINE + name, answer(rng, "", 0))
        return Conversation.of(short_question(rng, name), answer(rng, name, self._options.name_targets))


class OwnValidation:
    """Pictures of the user's own with all that is asked about them; names are asked for in fixed words.

    Of a conversation of several turns the first is asked: an evaluation scores single questions.
    """

    def __init__(self, source: str) -> None:
        """`source` as in `open_pictures`. Label maps are read here, since they tell what is asked."""
        self.spec = f"own|{source}"
        self._pictures = open_pictures(source)
        self.num_samples = sum(len(self._pictures[index].asked) for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int) -> Sample:
        """Picture `index` with all its conversations, in file order."""
        record = self._pictures[index]
        asked = [_first_turn(asked) for asked in record.asked]
        return _sample(self.spec, record, asked, [_validation(one) for one in asked])

    def train_masks(self, limit: int) -> Iterator[np.ndarray]:
        """None: there is no train split."""
        return iter(())


def open_own(dataset_dir: Path, name: str, options: SampleOptions) -> OwnSeg:
    """Data of the user's own by its path, which has nothing to do with `dataset_dir`; see `open_pictures`."""
    return OwnSeg(f"own|{name}", open_pictures(name), options)


def open_pictures(source: str) -> OwnPictures:
    """The pictures of "PATH" or "PATH|IMAGES", checked but not decoded; a relative path starts at the working folder.

    Raises ValueError or FileNotFoundError that names the file, the record and the mend.
    """
    name, _, images_name = source.partition("|")
    if not name.strip():
        raise ValueError(f"--own_data is empty: give a path.\n{FORMATS}")
    path = Path(name).expanduser()
    images = Path(images_name).expanduser() if images_name else None
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found (looked for from {Path.cwd()}). Own data is one of\n{FORMATS}")
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"{images}: not a folder (looked for from {Path.cwd()}), but {source!r} names it")
    if path.is_dir():
        return _open_folder(path, images)
    match path.suffix.lower():
        case ".jsonl":
            return JsonLines(path, images)
        case ".json":
            return CocoInstances(path, images)
    raise ValueError(f"{path}: files of this kind are not read. Own data is one of\n{FORMATS}")


def _open_folder(path: Path, images: Path | None) -> OwnPictures:
    paired = (path / "masks").is_dir() and (images is not None or (path / "images").is_dir())
    if not paired and any(file.name not in CLASS_FILES for file in list_below(path, ".json")):
        return LabelMe(path, images)
    if paired or (images is not None and list_folder(path, ".png")):
        return PairedMasks(path, images)
    raise ValueError(f"{path}: holds neither LabelMe json files nor images/ and masks/. Own data is one of\n{FORMATS}")


def _first_turn(asked: Asked) -> Asked:
    if asked.conversation is None:
        return asked
    first = Conversation(asked.conversation.turns[:2])
    return replace(
        asked, conversation=first, regions=asked.regions[: first.num_seg], names=asked.names[: first.num_seg]
    )


def _validation(asked: Asked) -> Conversation:
    if asked.conversation is not None:
        return asked.conversation
    name = asked.names[0]
    question = IMAGE_LINE + name if is_question(name) else validation_question(name, is_sentence=False)
    return Conversation.of(question, VALIDATION_ANSWER)


def _sample(data: str, record: OwnPicture, chosen: Sequence[Asked], conversations: list[Conversation]) -> Sample:
    picture = record.read()
    ignore = [region.mask(picture) for region in record.ignore]
    return Sample(
        data=data,
        image_id=record.image_id,
        image_path=record.path,
        image=picture.pixels,
        conversations=tuple(conversations),
        masks=stack([region.mask(picture) for asked in chosen for region in asked.regions], *picture.size),
        ignore=stack(ignore, *picture.size).any(axis=0),
        names=tuple("" if is_question(name) else name for asked in chosen for name in asked.names),
        types=tuple(asked.kind for asked in chosen),
    )
