"""The running scores of one evaluation: of the model, by kind of question, and of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eval.baselines import (
    MEAN_MASK_TRAIN_MASKS,
    everything,
    fit_mean_mask,
    largest,
    nothing,
    stretch,
)
from eval.metrics import (
    Counts,
    Overlap,
    confidence_intervals,
    giou,
    mask_overlap,
    no_target_accuracy,
    sample_ious,
    summarise,
)

if TYPE_CHECKING:
    from datasets.sample import Sample
    from datasets.validation import ValidationSet
    from lisa.results import Answer

MaskBaseline = Callable[["Sample"], "np.ndarray | None"]


@dataclass
class Tally:
    """Overlaps as they come in."""

    overlaps: list[Overlap] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    unknown: bool = False  # a sample could not be scored, so that nothing can be said of the whole

    def add(self, picture: int, prediction: np.ndarray | None, target: np.ndarray, ignore: np.ndarray) -> None:
        """Count one sample; masks are (H, W) bool, `prediction` is None where the data does not allow one."""
        if prediction is None:
            self.unknown = True
            return
        self.overlaps.append(mask_overlap(prediction, target, ignore))
        self.pictures.append(picture)

    def counts(self) -> Counts:
        """All that was added."""
        return Counts.of(self.overlaps, self.pictures)

    def summary(self) -> dict[str, float] | None:
        """gIoU, cIoU and precisions; None when nothing was added or a sample is unknown."""
        return summarise(self.counts()) if self.overlaps and not self.unknown else None


class Scoring:
    """Collects what the model and the baselines answer, picture by picture.

    A picture is known by its index in the data; its `targets` are those of `conversation_targets`.
    """

    def __init__(self, baselines: dict[str, MaskBaseline | None]) -> None:
        self._baselines = baselines
        self._model = Tally()
        self._blind = Tally()
        self._guesses = {name: Tally() for name in baselines}
        self._kinds: list[str] = []
        self._without_mask = 0

    @property
    def num_samples(self) -> int:
        """Samples that the model has answered so far."""
        return len(self._model.overlaps)

    def add_answers(
        self, picture: int, sample: Sample, targets: list[np.ndarray], answers: list[Answer]
    ) -> list[float]:
        """Score the model's answers, one per conversation; returns their IoU in that order."""
        first = self.num_samples
        for kind, target, answer in zip(sample.types, targets, answers, strict=True):
            self._model.add(picture, answer_mask(answer, sample), target, sample.ignore)
            self._kinds.append(kind)
            self._without_mask += len(answer.masks) == 0
        added = Counts.of(self._model.overlaps[first:], self._model.pictures[first:])
        return sample_ious(added).tolist()

    def add_blind(self, picture: int, sample: Sample, targets: list[np.ndarray], answers: list[Answer]) -> None:
        """Score the model's answers to the questions of other pictures, one per conversation."""
        for target, answer in zip(targets, answers, strict=True):
            self._blind.add(picture, answer_mask(answer, sample), target, sample.ignore)

    def add_baselines(self, picture: int, sample: Sample, targets: list[np.ndarray]) -> None:
        """Score what needs no model."""
        for name, baseline in self._baselines.items():
            guess = baseline(sample) if baseline else None
            for target in targets:
                self._guesses[name].add(picture, guess, target, sample.ignore)

    def result(self, rng: np.random.Generator) -> dict:
        """The scores under the names of the report; a baseline that the data does not allow is None."""
        counts = self._model.counts()
        baselines = {name: tally.summary() for name, tally in self._guesses.items()}
        return {
            **summarise(counts),
            **confidence_intervals(counts, rng),
            "without_mask": self._without_mask,
            "no_target": no_target_accuracy(counts),
            "by_type": _by_type(counts, np.array(self._kinds)),
            "baselines": {**baselines, "blind": self._blind.summary()},
        }


def mask_baselines(validation_set: ValidationSet) -> dict[str, MaskBaseline | None]:
    """The baselines that look at the picture only, under the names of the report."""
    mean_mask = fit_mean_mask(validation_set.train_masks(MEAN_MASK_TRAIN_MASKS))
    return {
        "nothing": nothing,
        "everything": everything,
        "largest": largest,
        "mean_mask": None if mean_mask is None else lambda sample: stretch(mean_mask, sample),
    }


def conversation_targets(sample: Sample) -> Iterator[np.ndarray]:
    """Per conversation the union of its target masks, (H, W) bool; empty for one without [SEG]."""
    first = 0
    for conversation in sample.conversations:
        yield sample.masks[first : first + conversation.num_seg].any(axis=0)
        first += conversation.num_seg


def answer_mask(answer: Answer, sample: Sample) -> np.ndarray:
    """All masks of an answer as one, (H, W) bool; empty for an answer without masks."""
    size = sample.image.shape[:2]
    assert answer.masks.shape[1:] == size, f"{sample.image_path}: masks {answer.masks.shape}, picture {size}"
    return answer.masks.any(axis=0)


def _by_type(counts: Counts, kinds: np.ndarray) -> dict[str, dict]:
    """gIoU and samples of each kind of question that the data names, in alphabetical order."""
    of_kind = {str(kind): kinds == kind for kind in np.unique(kinds) if kind}
    return {
        kind: {"giou": giou(counts.where(chosen)), "samples": int(chosen.sum())} for kind, chosen in of_kind.items()
    }
