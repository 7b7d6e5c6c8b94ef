"""The vqa family: conversations about a picture in words alone, so that a model keeps talking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.collected import Collected
from datasets.files import field, name_inside, open_json, require_file, require_folder, require_images
from datasets.images import read_image
from datasets.index import RecordIndex
from datasets.sample import Sample, SampleOptions
from datasets.templates import IMAGE_LINE, check_text
from datasets.tree import Tree
from lisa.conversation import IMAGE_PLACEHOLDER, Conversation, Turn

_ROLES = {"human": "user", "gpt": "assistant"}


class Vqa:
    """The records of a LLaVA-Instruct file; each is a picture and one conversation of several turns."""

    def __init__(self, data: str, records: RecordIndex, images: Path, source: Path) -> None:
        self.data = data
        self._records = records
        self._images = images
        require_images(images, records.columns["image"], source)

    def __len__(self) -> int:
        return len(self._records)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Record `index`, whole; nothing is drawn from `rng`."""
        record = self._records[index]
        path = self._images / record["image"]
        image = read_image(path)
        size = image.shape[:2]
        return Sample(
            data=self.data,
            image_id=path.stem,
            image_path=path,
            image=image,
            conversations=(Conversation(tuple(Turn(role, text) for role, text in record["turns"])),),
            masks=np.zeros((0, *size), dtype=bool),
            ignore=np.zeros(size, dtype=bool),
            names=(),
            types=("",),
        )


def open_vqa(place: Path | Tree, name: str, options: SampleOptions) -> Vqa:
    """The conversations of llava_dataset/<name>.json, about pictures of COCO; they need no options."""
    tree, layout = Tree.of(place), f"  llava_dataset/{name}.json\n  coco/train2017/*.jpg"
    source = require_file(tree / f"llava_dataset/{name}.json", layout)
    images = require_folder(tree / "coco/train2017", layout)
    records = tree.index(name, [source], lambda: _records(source, images), {"image": lambda record: record["image"]})
    return Vqa(name, records, images, source)


def _records(source: Path, images: Path) -> Iterator[dict]:
    """{"image": file name, "turns": [[role, text], ...]} of every record of the file, checked."""
    content = open_json(source)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{source}: holds no list of conversations; restore it from its source")
    problems = Collected()
    for index, record in enumerate(content):
        where, good = f"{source}: record {index}", []
        with problems.guard(where):
            image = name_inside(images, field(record, "image", str, where))
            conversation = read_conversation(field(record, "conversations", list, where), where)
            good.append({"image": image, "turns": [[turn.role, turn.text] for turn in conversation.turns]})
        yield from good
    problems.refuse(source)


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
