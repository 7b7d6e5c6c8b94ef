"""A predictor and a validation set in, one result of the report out.

The two modes differ in who writes the answer. Teacher-forced: the data's answer, [SEG] included, is given
and only the mask is the model's. Generated: the model answers in its own words, and an answer without
[SEG] is an empty mask. Every sample of every picture is scored; none is dropped or tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from eval.baselines import (
    MEAN_MASK_TRAIN_MASKS,
    everything,
    fit_mean_mask,
    largest,
    nothing,
    questions_of_others,
    stretch,
)
from eval.metrics import Counts, Overlap, confidence_intervals, giou, mask_overlap, sample_ious, summarise
from eval.predictions import Prediction, PredictionSink, question_text
from lisa.conversation import Conversation

if TYPE_CHECKING:
    from datasets.sample import Sample
    from datasets.validation import ValidationSet
    from lisa.generation import Predictor
    from lisa.results import Answer

Mode = Literal["teacher_forced", "generated"]
MaskBaseline = Callable[["Sample"], "np.ndarray | None"]


@dataclass
class Tally:
    """Overlaps as they come in; `unknown` once one could not be had, for then the whole is not known."""

    overlaps: list[Overlap] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    unknown: bool = False

    def add(
        self, picture: int, prediction: np.ndarray | None, target: np.ndarray, ignore: np.ndarray
    ) -> None:
        """Count one sample; `prediction` is (H, W) bool, or None where the data does not allow one."""
        if prediction is None:
            self.unknown = True
            return
        self.overlaps.append(mask_overlap(prediction, target, ignore))
        self.pictures.append(picture)

    def counts(self) -> Counts:
        """All that was added."""
        return Counts.of(self.overlaps, self.pictures)

    def summary(self) -> dict[str, float] | None:
        """gIoU, cIoU, precisions; None where a sample is unknown."""
        return None if self.unknown else summarise(self.counts())


def evaluate(
    predictor: Predictor,
    validation_set: ValidationSet,
    mode: Mode,
    *,
    batch_size: int = 16,
    limit: int | None = None,
    seed: int = 0,
    blind: bool = True,
    predictions: PredictionSink | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Score the first `limit` pictures (all when None) with all of their questions.

    batch_size is in pictures. With `blind` the model is also asked the questions of other pictures, drawn
    with `seed` as the bootstrap is. `predictions` is given every scored answer, `progress` the number of
    pictures that a batch completed. Returns one entry of `results` of the report; a baseline that the data
    does not allow is None.
    """
    num_pictures = len(validation_set) if limit is None else min(limit, len(validation_set))
    if num_pictures < 1:
        raise ValueError(f"{validation_set.spec}: no picture to evaluate (limit {limit})")
    blind_rng, bootstrap_rng = np.random.default_rng(seed).spawn(2)
    swapped = _swapped_questions(validation_set, num_pictures, blind_rng) if blind else None
    scoring = Scoring(mode=mode, baselines=_mask_baselines(validation_set), sink=predictions)
    for start in range(0, num_pictures, batch_size):
        pictures = range(start, min(start + batch_size, num_pictures))
        samples = [validation_set.sample(picture) for picture in pictures]
        others = [swapped[picture] if swapped else [] for picture in pictures]
        answers = _ask(predictor, samples, others, mode)
        for picture, sample, own_and_others in zip(pictures, samples, answers, strict=True):
            scoring.add_picture(picture, sample, own_and_others)
        if progress:
            progress(len(pictures))
    whole = num_pictures == len(validation_set)
    assert not whole or scoring.num_samples == validation_set.num_samples, (
        f"{validation_set.spec}: {scoring.num_samples} samples scored, but the data has {validation_set.num_samples}"
    )
    return {
        "data": validation_set.spec,
        "mode": mode,
        "images": num_pictures,
        "images_in_data": len(validation_set),
        "samples": scoring.num_samples,
        "samples_in_data": validation_set.num_samples,
        **scoring.result(bootstrap_rng),
    }


class Scoring:
    """The running scores of one evaluation: of the model, by kind of question, and of the baselines."""

    def __init__(
        self, *, mode: Mode, baselines: dict[str, MaskBaseline | None], sink: PredictionSink | None
    ) -> None:
        self._mode = mode
        self._sink = sink
        self._baselines = baselines
        self._model = Tally()
        self._blind = Tally()
        self._mask_tallies = {name: Tally() for name in baselines}
        self._kinds: list[str] = []
        self._without_mask = 0

    @property
    def num_samples(self) -> int:
        """Samples scored so far."""
        return len(self._model.overlaps)

    def add_picture(self, picture: int, sample: Sample, answers: list[Answer]) -> None:
        """Score a picture's answers: one per conversation, then as many to other pictures' questions, or none."""
        own, blind = answers[: len(sample.conversations)], answers[len(sample.conversations) :]
        targets = list(_targets(sample))
        for conversation, kind, target, answer in zip(
            sample.conversations, sample.types, targets, own, strict=True
        ):
            self._model.add(picture, _union(answer, sample), target, sample.ignore)
            self._kinds.append(kind)
            self._without_mask += len(answer.masks) == 0
            if self._sink:
                self._sink.write(self._prediction(sample, conversation, kind, target, answer))
        for target, answer in zip(targets, blind, strict=bool(blind)):
            self._blind.add(picture, _union(answer, sample), target, sample.ignore)
        for name, baseline in self._baselines.items():
            guess = baseline(sample) if baseline else None
            for target in targets:
                self._mask_tallies[name].add(picture, guess, target, sample.ignore)

    def result(self, rng: np.random.Generator) -> dict:
        """The scores under the names of the report."""
        counts = self._model.counts()
        baselines = {name: tally.summary() for name, tally in self._mask_tallies.items()}
        baselines["blind"] = self._blind.summary() if self._blind.overlaps else None
        return {
            **summarise(counts),
            **confidence_intervals(counts, rng),
            "without_mask": self._without_mask,
            "by_type": _by_type(counts, np.array(self._kinds)),
            "baselines": baselines,
        }

    def _prediction(
        self, sample: Sample, conversation: Conversation, kind: str, target: np.ndarray, answer: Answer
    ) -> Prediction:
        latest = Counts.of(self._model.overlaps[-1:], self._model.pictures[-1:])
        return Prediction(
            sample=sample,
            mode=self._mode,
            question=question_text(conversation),
            kind=kind,
            target=target,
            answer=answer.text,
            masks=answer.masks,
            scores=answer.scores,
            iou=float(sample_ious(latest)[0]),
        )


def _ask(
    predictor: Predictor, samples: list[Sample], others: list[list[Conversation]], mode: Mode
) -> list[list[Answer]]:
    """Answers per picture, its own conversations first and then `others`, in one call that sees a picture once."""
    images = [sample.image for sample in samples]
    asked = [[*sample.conversations, *extra] for sample, extra in zip(samples, others, strict=True)]
    if mode == "generated":
        questions = [[_without_answer(conversation) for conversation in picture] for picture in asked]
        answers = predictor.generate(images, questions)
    else:
        answers = predictor.teacher_forced(images, asked)
    given, wanted = [len(picture) for picture in answers], [len(picture) for picture in asked]
    assert given == wanted, f"answers per picture {given}, but conversations per picture {wanted}"
    return answers


def _without_answer(conversation: Conversation) -> Conversation:
    """The conversation up to and with the user's last turn."""
    assert conversation.turns[-1].role == "assistant", "a validation conversation ends with its answer"
    return Conversation(conversation.turns[:-1])


def _targets(sample: Sample) -> Iterator[np.ndarray]:
    """Per conversation the union of its target masks, (H, W) bool; empty for one without [SEG]."""
    first = 0
    for conversation in sample.conversations:
        yield sample.masks[first : first + conversation.num_seg].any(axis=0)
        first += conversation.num_seg


def _union(answer: Answer, sample: Sample) -> np.ndarray:
    """All masks of an answer as one, (H, W) bool; empty for an answer without masks."""
    assert answer.masks.shape[1:] == sample.image.shape[:2], (
        f"{sample.image_path}: masks {answer.masks.shape} for a picture {sample.image.shape}"
    )
    return answer.masks.any(axis=0)


def _mask_baselines(validation_set: ValidationSet) -> dict[str, MaskBaseline | None]:
    """The baselines that look at the picture only; None for one that this data does not allow."""
    mean_mask = fit_mean_mask(validation_set.train_masks(MEAN_MASK_TRAIN_MASKS))
    return {
        "nothing": nothing,
        "everything": everything,
        "largest": largest,
        "mean_mask": None if mean_mask is None else lambda sample: stretch(mean_mask, sample),
    }


def _swapped_questions(
    validation_set: ValidationSet, num_pictures: int, rng: np.random.Generator
) -> list[list[Conversation]] | None:
    conversations = [validation_set.sample(picture).conversations for picture in range(num_pictures)]
    return questions_of_others(conversations, rng)


def _by_type(counts: Counts, kinds: np.ndarray) -> dict[str, dict]:
    """gIoU and samples of each kind of question that the data names, in alphabetical order."""
    of_kind = {str(kind): kinds == kind for kind in np.unique(kinds) if kind}
    return {
        kind: {"giou": giou(counts.where(chosen)), "samples": int(chosen.sum())}
        for kind, chosen in of_kind.items()
    }
