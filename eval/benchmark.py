"""A predictor and a validation set in, one result of the report out.

The two modes differ in who writes the answer. Teacher-forced: the data's answer, [SEG] included, is given
and only the mask is the model's. Generated: the model answers in its own words, and an answer without
[SEG] is an empty mask. Every sample of every picture is scored; none is dropped or tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from eval.baselines import questions_of_others
from eval.predictions import Prediction, PredictionSink, question_text
from eval.scoring import Scoring, conversation_targets, mask_baselines
from lisa.conversation import Conversation

if TYPE_CHECKING:
    from datasets.sample import Sample
    from datasets.validation import ValidationSet
    from lisa.generation import Predictor
    from lisa.results import Answer

Mode = Literal["teacher_forced", "generated"]


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
    blind_rng, bootstrap_rng = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
    swapped = _swapped_questions(validation_set, num_pictures, blind_rng) if blind else None
    scoring = Scoring(mask_baselines(validation_set))
    for pictures in _batches(num_pictures, batch_size):
        samples = [validation_set.sample(picture) for picture in pictures]
        others = [swapped[picture] if swapped else [] for picture in pictures]
        all_answers = _ask(predictor, samples, others, mode)
        for picture, sample, answers in zip(pictures, samples, all_answers, strict=True):
            for prediction in _score_picture(scoring, picture, sample, answers, mode):
                if predictions is not None:
                    predictions.write(prediction)
        if progress is not None:
            progress(len(pictures))
    expected = validation_set.num_samples
    assert num_pictures < len(validation_set) or scoring.num_samples == expected, (
        f"{validation_set.spec}: {scoring.num_samples} samples were scored, but the data has {expected}"
    )
    return {
        "data": validation_set.spec,
        "mode": mode,
        "images": num_pictures,
        "images_in_data": len(validation_set),
        "samples": scoring.num_samples,
        "samples_in_data": expected,
        **scoring.result(bootstrap_rng),
    }


def _batches(num_pictures: int, batch_size: int) -> Iterator[range]:
    for start in range(0, num_pictures, batch_size):
        yield range(start, min(start + batch_size, num_pictures))


def _swapped_questions(
    validation_set: ValidationSet, num_pictures: int, rng: np.random.Generator
) -> list[list[Conversation]] | None:
    """Read all questions first, so that a picture's own and the others' can be asked in one call."""
    conversations = [validation_set.sample(picture).conversations for picture in range(num_pictures)]
    return questions_of_others(conversations, rng)


def _ask(
    predictor: Predictor, samples: list[Sample], others: list[list[Conversation]], mode: Mode
) -> list[list[Answer]]:
    """Answers per picture: to its own conversations, then to `others`, so that each is encoded once."""
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


def _score_picture(
    scoring: Scoring, picture: int, sample: Sample, answers: list[Answer], mode: Mode
) -> list[Prediction]:
    """Score the answers of `_ask` to one picture, and the baselines; returns the model's own answers."""
    targets = list(conversation_targets(sample))
    own, blind = answers[: len(targets)], answers[len(targets) :]
    ious = scoring.add_answers(picture, sample, targets, own)
    if blind:
        scoring.add_blind(picture, sample, targets, blind)
    scoring.add_baselines(picture, sample, targets)
    return [
        Prediction(
            sample=sample,
            mode=mode,
            question=question_text(conversation),
            kind=kind,
            target=target,
            answer=answer.text,
            masks=answer.masks,
            scores=answer.scores.expected_iou,
            iou=iou,
        )
        for conversation, kind, target, answer, iou in zip(
            sample.conversations, sample.types, targets, own, ious, strict=True
        )
    ]
