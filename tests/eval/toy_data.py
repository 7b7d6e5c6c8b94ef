"""A tiny validation set and a predictor whose answers are known, shaped as the real ones are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from lisa.conversation import Conversation
from lisa.results import Answer, Scores

HEIGHT, WIDTH = 2, 10


def strip_mask(start: int, stop: int) -> np.ndarray:
    """Columns start to stop of a picture of 2 x 10."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[:, start:stop] = True
    return mask


def make_sample(
    number: int,
    targets: dict[str, np.ndarray],
    types: tuple[str, ...] | None = None,
    ignore: np.ndarray | None = None,
    things: np.ndarray | None = None,
) -> SimpleNamespace:
    """A picture with a question per target; the predictor knows it by its first pixel."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[0, 0] = number
    return SimpleNamespace(
        data="toy|val",
        image_id=str(number),
        image_path=Path(f"{number}.png"),
        image=image,
        conversations=tuple(Conversation.of(f"<image>\n {word}", "[SEG].") for word in targets),
        masks=np.stack(list(targets.values())),
        ignore=strip_mask(0, 0) if ignore is None else ignore,
        names=("",) * len(targets),
        types=types or ("",) * len(targets),
        things=things,
    )


@dataclass
class ToyValidationSet:
    """The pictures given, as `datasets.validation.ValidationSet` would serve them."""

    samples: list[SimpleNamespace]
    train: list[np.ndarray] = field(default_factory=list)
    spec: str = "toy|val"

    @property
    def num_samples(self) -> int:
        return sum(len(sample.conversations) for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, i: int) -> SimpleNamespace:
        return self.samples[i]

    def train_masks(self, limit: int):
        return iter(self.train[:limit])


@dataclass
class ScriptedPredictor:
    """Answers `answers[picture number, question]`, a list of masks; writes down what it was given."""

    answers: dict[tuple[int, str], list[np.ndarray]]
    name: str = "scripted"
    calls: list = field(default_factory=list)

    def generate(self, images, conversations, max_new_tokens=64):
        assert all(c.turns[-1].role == "user" for picture in conversations for c in picture)
        return self._answer("generate", images, conversations)

    def teacher_forced(self, images, conversations):
        assert all(c.turns[-1].text == "[SEG]." for picture in conversations for c in picture)
        return self._answer("teacher_forced", images, conversations)

    def _answer(self, kind, images, conversations):
        self.calls.append((kind, [int(image[0, 0, 0]) for image in images], conversations))
        return [
            [self._masks(int(image[0, 0, 0]), conversation) for conversation in picture]
            for image, picture in zip(images, conversations, strict=True)
        ]

    def _masks(self, number, conversation):
        word = conversation.turns[0].text.removeprefix("<image>\n ")
        masks = self.answers.get((number, word), [])
        text = f"It is {word} " + " ".join("[SEG]" for _ in masks)
        stacked = np.stack(masks) if masks else np.zeros((0, HEIGHT, WIDTH), bool)
        half = np.full(len(masks), 0.5, np.float32)
        return Answer(text=text.strip(), masks=stacked, scores=Scores(expected_iou=half, seg_probability=half))
