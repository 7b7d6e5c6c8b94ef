"""What sharing a picture is worth in evaluation: `python bench/evaluate.py [--config medium] [--out evaluate.json]`.

evaluate_8: teacher-forced scoring of one picture with 8 sentences, baselines and intervals included, a: one
conversation per forward, the picture encoded for each, b: as `eval/refcoco.py` does it, all in one row.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # our `datasets` comes before Hugging Face's

import numpy as np
import tyro

from bench.models import pictures, questions
from bench.pairs import PairFlags, finish, make_row, measure_pairs, predictor_for, require_same
from datasets.sample import Sample
from eval.benchmark import evaluate
from eval.predictions import Prediction
from lisa.allocator import keep_freed_memory
from lisa.conversation import Conversation
from lisa.generation import Predictor
from lisa.results import Answer

SENTENCES = 8


class OnePicture:
    """A validation set (`datasets.validation`) of one picture with `SENTENCES` sentences about left halves of it."""

    spec = "bench|val"
    num_samples = SENTENCES

    def __init__(self) -> None:
        (image,) = pictures(1)
        height, width = image.shape[:2]
        masks = np.zeros((SENTENCES, height, width), bool)
        masks[:, :, : width // 2] = True
        self._sample = Sample(
            data=self.spec,
            image_id="0",
            image_path=Path("0.png"),
            image=image,
            conversations=tuple(questions(SENTENCES, answered=True)),
            masks=masks,
            ignore=np.zeros((height, width), bool),
            names=("",) * SENTENCES,
            types=("",) * SENTENCES,
        )

    def __len__(self) -> int:
        return 1

    def sample(self, _: int) -> Sample:
        """The picture."""
        return self._sample

    def train_masks(self, _: int) -> list[np.ndarray]:
        """There are none."""
        return []


@dataclass
class OneByOne:
    """A predictor that passes each conversation through the whole model on its own."""

    predictor: Predictor

    def teacher_forced(
        self, images: Sequence[np.ndarray], conversations: Sequence[Sequence[Conversation]]
    ) -> list[list[Answer]]:
        """As `Predictor.teacher_forced`."""
        return [
            [self.predictor.teacher_forced([image], [[conversation]])[0][0] for conversation in group]
            for image, group in zip(images, conversations, strict=True)
        ]


@dataclass
class Kept:
    """Predictions, to be compared."""

    predictions: list[Prediction] = field(default_factory=list)

    def write(self, prediction: Prediction) -> None:
        """Keep one."""
        self.predictions.append(prediction)


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, print a table, write JSON."""
    flags = tyro.cli(PairFlags, args=argv, prog="bench/evaluate.py", description=__doc__)
    keep_freed_memory()
    predictor, data = predictor_for(flags), OnePicture()
    sides = [OneByOne(predictor), predictor]
    difference = _difference(*(_predictions(side, data) for side in sides))
    require_same("evaluate_8", difference, flags)
    a, b = (lambda side=side: evaluate(side, data, "teacher_forced", blind=False) for side in sides)
    seconds = measure_pairs(a, b, flags.pairs)
    rates = [SENTENCES / statistics.median(side) for side in seconds]
    row = make_row("evaluate_8", seconds, difference, a_samples_per_second=rates[0], b_samples_per_second=rates[1])
    return finish("evaluation of a picture with 8 sentences", [row], flags)


def _predictions(side: Predictor | OneByOne, data: OnePicture) -> list[Prediction]:
    kept = Kept()
    evaluate(side, data, "teacher_forced", blind=False, predictions=kept)
    return kept.predictions


def _difference(one: list[Prediction], other: list[Prediction]) -> float:
    """Largest of: share of pixels whose mask differs, relative difference of a score."""
    pixels = max(float((x.masks != y.masks).mean()) for x, y in zip(one, other, strict=True))
    scores = [np.abs(x.scores - y.scores).max() / max(y.scores.max(), 1e-6) for x, y in zip(one, other, strict=True)]
    return max(pixels, float(max(scores)))


if __name__ == "__main__":
    main()
