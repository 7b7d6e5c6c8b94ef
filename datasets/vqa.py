"""The vqa family: conversations about a picture in words alone, so that a model keeps talking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets.files import field, inside, open_json, require_file, require_folder, require_images
from datasets.images import read_image
from datasets.sample import Sample, SampleOptions
from datasets.templates import IMAGE_LINE, check_text
from lisa.conversation import IMAGE_PLACEHOLDER, Conversation, Turn

_ROLES = {"human": "user", "gpt": "assistant"}


class Vqa:
    """The records of a LLaVA-Instruct file; each is a picture and one conversation of several turns."""

    def __init__(self, data: str, source: Path, images: Path) -> None:
        self.data = data
        self._source = source
        self._images = images
        self._records = open_json(source)
        if not isinstance(self._records, list) or not self._records:
            raise ValueError(f"{source}: holds no list of conversations; restore it from its source")
        for index in range(len(self)):
            self._conversation(index)
        require_images((self._image_path(index) for index in range(len(self))), source)

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Record `index`, whole; nothing is drawn from `rng`."""
        path = self._image_path(index)
        image = read_image(path)
        size = image.shape[:2]
        return Sample(
            data=self.data,
            image_id=path.stem,
            image_path=path,
            image=image,
            conversations=(self._conversation(index),),
            masks=np.zeros((0, *size), dtype=bool),
            ignore=np.zeros(size, dtype=bool),
            names=(),
            types=("",),
        )

    def _image_path(self, index: int) -> Path:
        where = f"{self._source}: record {index}"
        try:
            return inside(self._images, field(self._records[index], "image", str, where))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _conversation(self, index: int) -> Conversation:
        where = f"{self._source}: record {index}"
        return read_conversation(field(self._records[index], "conversations", list, where), where)


def read_conversation(messages: list[Any], where: str) -> Conversation:
    """Messages {from: human|gpt, value} -> turns; <image> and a line break open the turn that had <image>.

    Messages before the first of the human are left out. ValueError unless human and gpt alternate, gpt has
    the last word and exactly one picture is talked about.
    """
    senders = [field(message, "from", str, where) for message in messages]
    texts = [field(message, "value", str, where) for message in messages]
    if not {"human"} <= set(senders) <= _ROLES.keys():
        raise ValueError(f"{where}: messages are from {senders}, but must be from human and gpt")
    start = senders.index("human")
    turns = [_turn(sender, text, where) for sender, text in zip(senders[start:], texts[start:], strict=True)]
    if turns[-1].role == "user":
        raise ValueError(f"{where}: the last question has no answer; remove it")
    with_image = [index for index, turn in enumerate(turns) if IMAGE_PLACEHOLDER in turn.text]
    if not with_image:
        raise ValueError(f"{where}: no question holds {IMAGE_PLACEHOLDER}; put it before the first one")
    for index in with_image[1:]:
        turns[index] = Turn("user", turns[index].text.removeprefix(IMAGE_LINE))
    try:
        return Conversation(tuple(turns))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _turn(sender: str, text: str, where: str) -> Turn:
    if sender == "gpt" or IMAGE_PLACEHOLDER not in text:
        check_text(text, where)
        return Turn(_ROLES[sender], text)
    return Turn("user", IMAGE_LINE + check_text(text.replace(IMAGE_PLACEHOLDER, ""), where))


def open_vqa(dataset_dir: Path, name: str, options: SampleOptions) -> Vqa:
    """The conversations of llava_dataset/<name>.json, about pictures of COCO; they need no options."""
    layout = f"  llava_dataset/{name}.json\n  coco/train2017/*.jpg"
    source = require_file(dataset_dir / f"llava_dataset/{name}.json", layout)
    return Vqa(name, source, require_folder(dataset_dir / "coco/train2017", layout))
