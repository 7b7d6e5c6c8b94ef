"""The reason_seg family: questions whose answer has to be thought out, in the format of ReasonSeg."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.collected import Collected
from datasets.files import field, inside, missing, open_json, require_file, require_folder
from datasets.images import Picture, image_size, read_picture
from datasets.masks import check_inside, stack
from datasets.outline import draw_outline
from datasets.sample import Sample, SampleOptions
from datasets.shapes import Shape as DrawnShape
from datasets.shapes import draw_shapes, kind_of, parse_shape
from datasets.templates import (
    IMAGE_LINE,
    answer,
    check_text,
    choose_some,
    explanatory_question,
    long_question,
    short_question,
)
from datasets.tree import Tree
from lisa.conversation import Conversation
from lisa.image_files import list_folder

LAYOUT = "  reason_seg/{name}/{split}/<name>.jpg and <name>.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shape:
    """A labelled outline."""

    label: str
    points: np.ndarray  # (K, 2) float64, K >= 1: x and y, pixels
    drawn: DrawnShape | None = None  # of another type than polygon

    @property
    def is_flag(self) -> bool:
        """Marks the picture as a whole; not drawn."""
        return self.label.lower() == "flag"

    @property
    def is_ignore(self) -> bool:
        """Outlines pixels that count neither as hit nor as miss."""
        return "ignore" in self.label.lower()

    @property
    def is_line(self) -> bool:
        """A polygon without area, which the official masks have as a line."""
        return self.drawn is None and len(self.points) < 3 and not self.is_flag

    def mask(self, height: int, width: int) -> np.ndarray:
        """(height, width) bool: a polygon as the official masks, any other type as LabelMe draws it."""
        if self.drawn is not None:
            return draw_shapes([self.drawn], height, width)
        return draw_outline(self.points, height, width)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReasonPicture:
    """A picture with its questions, which all have the same answer. No shapes: nothing answers them."""

    path: Path
    texts: tuple[str, ...]  # at least one, stripped
    is_sentence: bool  # whole sentences; else short phrases
    kind: str  # kind of question where the data names it, else ""
    shapes: tuple[Shape, ...]
    things: tuple[Shape, ...] | None  # every whole thing of the picture, where the data has them

    @property
    def name(self) -> str:
        """What the targets are: "a, the b and the c"; "" where a label says no more than "target"."""
        labels = [s.label for s in self.shapes if not s.is_flag and not s.is_ignore]
        if not labels or "target" in labels:
            return ""
        *others, last = dict.fromkeys(labels)
        return f"{', the '.join(others)} and the {last}" if others else last

    def regions(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """Target mask and ignore region, both (H, W) bool."""
        return paint(self.shapes, *picture.size)


def paint(shapes: tuple[Shape, ...], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Target mask and ignore region, both (height, width) bool, never both true.

    Shapes are painted over one another from the largest to the smallest, so that the smaller one decides
    where they are nested.
    """
    target, ignore = np.zeros((2, height, width), dtype=bool)
    layers = [(shape.mask(height, width), shape) for shape in shapes if not shape.is_flag]
    for mask, shape in sorted(layers, key=lambda layer: layer[0].sum(), reverse=True):
        target[mask] = not shape.is_ignore
        ignore[mask] = shape.is_ignore
    return target, ignore


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reply:
    """How the questions of a picture are answered: with [SEG], with its explanation, or with both."""

    explanation: str | None
    in_words_alone: bool


class ReasonSeg:
    """Training pictures of ReasonSeg, each with some of its questions."""

    def __init__(
        self, data: str, pictures: list[ReasonPicture], explanations: dict[str, str], options: SampleOptions
    ) -> None:
        self.data = data
        self._pictures = pictures
        self._explanations = explanations
        self._options = options

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its questions, one conversation each.

        Where an explanation is known, one draw for the picture decides between an answer in words alone
        (probability `explanatory`), [SEG] with the explanation, and [SEG] alone (the rest, half and half).
        """
        record, options = self._pictures[index], self._options
        picture = read_picture(record.path)
        texts = choose_some(rng, record.texts, options.num_classes_per_sample)
        explanation = self._explanations.get(record.path.name)
        in_words_alone = explanation is not None and rng.random() < options.explanatory
        if explanation is not None and not in_words_alone and rng.random() < 0.5:
            explanation = None
        choice = _Reply(explanation=explanation, in_words_alone=in_words_alone)
        conversations = tuple(self._conversation(record, text, choice, rng) for text in texts)
        num_masks = sum(conversation.num_seg for conversation in conversations)
        target, ignore = record.regions(picture)
        return Sample(
            data=self.data,
            image_id=record.path.stem,
            image_path=record.path,
            image=picture.pixels,
            conversations=conversations,
            masks=stack([target] * num_masks, *picture.size),
            ignore=ignore,
            names=(record.name,) * num_masks,
            types=(record.kind,) * len(texts),
        )

    def _conversation(self, record: ReasonPicture, text: str, choice: _Reply, rng: np.random.Generator) -> Conversation:
        if choice.in_words_alone:
            return Conversation.of(IMAGE_LINE + text, choice.explanation)
        reply = answer(rng, record.name, self._options.name_targets)
        if choice.explanation is not None:
            return Conversation.of(explanatory_question(rng, text), f"{reply} {choice.explanation}")
        question = long_question(rng, text) if record.is_sentence else short_question(rng, text)
        return Conversation.of(question, reply)


def open_reason_seg(place: Path | Tree, spec: str, options: SampleOptions) -> ReasonSeg:
    """A training set by its spec: "ReasonSeg|train", several splits joined by "_": "ReasonSeg|train_val"."""
    name, _, splits = spec.partition("|")
    root = Tree.of(place) / f"reason_seg/{name}"
    pictures = [picture for split in splits.split("_") for picture in load_reason_split(root, split)]
    explanations = {} if options.explanatory < 0 else load_explanations(root)
    return ReasonSeg(spec, pictures, explanations, options)


def load_reason_split(root: Path, split: str) -> list[ReasonPicture]:
    """The pictures of a split, sorted by name; `root` is the folder of the dataset, such as ReasonSeg.

    Everything is checked but the pictures' content, of which only the header is read.
    """
    layout = LAYOUT.format(name=root.name, split=split or "train")
    require_folder(root, layout)
    if not split or not (root / split).is_dir():
        known = ", ".join(p.name for p in list_folder(root) if p.is_dir() and p.name != "explanatory")
        raise ValueError(f"{root}: no split {split!r}; it has {known or 'none'}")
    images, records = split_files(root / split)
    if not images:
        raise missing(root / split / "*.jpg", layout)
    problems, pictures = Collected(), []
    for stem in sorted(images.keys() | records.keys()):
        with problems.guard():
            if stem not in images or stem not in records:
                path = images.get(stem) or records[stem]
                other = ".json" if stem in images else ".jpg"
                raise FileNotFoundError(f"{path}: there is no {stem}{other} beside it; complete the split or remove it")
            pictures.append(read_reason_picture(images[stem], records[stem]))
    problems.refuse(root / split)
    return pictures


def split_files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The pictures and the json files of a split, by stem."""
    images, records = list_folder(folder, ".jpg"), list_folder(folder, ".json")
    return {path.stem: path for path in images}, {path.stem: path for path in records}


def read_reason_picture(path: Path, source: Path) -> ReasonPicture:
    """A picture and its json file; points are in pixels of the picture as displayed (EXIF applied)."""
    record = open_json(source)
    size = image_size(path)
    texts = field(record, "text", list, str(source))
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{source}: 'text' must be a list of questions, at least one, but is {texts!r:.60}")
    problems, shapes = Collected(), []
    for index, shape in enumerate(field(record, "shapes", list, str(source))):
        with problems.guard():
            shapes.append(_shape(shape, size, f"{source}: shapes[{index}]"))
    problems.refuse(source)
    return ReasonPicture(
        path=path,
        texts=tuple(check_text(text, str(source)) for text in texts),
        is_sentence=field(record, "is_sentence", bool, str(source)),
        kind=field(record, "type", str, str(source)) if "type" in record else "",
        shapes=tuple(shapes),
        things=_things(record, size, source) if "things" in record else None,
    )


def _things(record: dict, size: tuple[int, int], source: Path) -> tuple[Shape, ...]:
    things = field(record, "things", list, str(source))
    return tuple(_shape(thing, size, f"{source}: things[{i}]") for i, thing in enumerate(things))


def _shape(record: Any, size: tuple[int, int], where: str) -> Shape:
    label = check_text(field(record, "label", str, where), where)
    points = field(record, "points", list, where)
    try:
        shape = Shape(label=label, points=np.array([(x, y) for x, y in points], dtype=np.float64).reshape(-1, 2))
        if shape.is_flag:
            return shape
        if kind_of(record) != "polygon":
            return replace(shape, drawn=parse_shape(record, size, where))
        check_inside(shape.points, *size)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error
    return shape


def load_explanations(root: Path) -> dict[str, str]:
    """Why the answer is the answer, by file name of the picture, from explanatory/train.json."""
    layout = f"  reason_seg/{root.name}/explanatory/train.json (not needed where explanatory is -1)"
    source = require_file(root / "explanatory/train.json", layout)
    records = open_json(source)
    if not isinstance(records, list):
        raise ValueError(f"{source}: holds no list of explanations; restore it from its source")
    problems, explanations = Collected(), {}
    for index, record in enumerate(records):
        where = f"{source}: record {index}"
        with problems.guard(where):
            image = inside(root / "train", field(record, "image", str, where))
            if not image.is_file():
                raise FileNotFoundError(f"{image.name} is not in {root / 'train'}; restore it or remove the record")
            explanations[image.name] = check_text(field(record, "outputs", str, where), where)
    problems.refuse(source)
    return explanations
