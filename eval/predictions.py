"""One scored answer as a record, and its line in `preds.jsonl`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

import numpy as np

from lisa.conversation import IMAGE_PLACEHOLDER, Conversation
from lisa.formats import encode_rle

if TYPE_CHECKING:
    from datasets.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model answered to one question about one picture, and how right it was."""

    sample: Sample  # the picture; shared by all of its predictions
    mode: str  # "generated" or "teacher_forced"
    question: str  # the user's words, without the image placeholder
    kind: str  # kind of question, "" where the data does not name it
    target: np.ndarray  # (H, W) bool
    answer: str
    masks: np.ndarray  # (N, H, W) bool, one per [SEG] of the answer; N may be 0
    scores: np.ndarray  # (N,) float in 0 to 1, SAM's own estimate of each mask's IoU
    iou: float  # of the union of the masks with the target


class PredictionSink(Protocol):
    """Whatever wants to see each prediction as it is scored."""

    def write(self, prediction: Prediction) -> None:
        """Take one prediction; called once per sample, in the order of the data."""


def question_text(conversation: Conversation) -> str:
    """The user's last words, without the image placeholder and the blanks around it."""
    asked = [turn.text for turn in conversation.turns if turn.role == "user"]
    return asked[-1].replace(IMAGE_PLACEHOLDER, "").strip()


def to_record(prediction: Prediction) -> dict:
    """The line of `preds.jsonl`: plain JSON values only."""
    return {
        "data": prediction.sample.data,
        "image_id": prediction.sample.image_id,
        "mode": prediction.mode,
        "type": prediction.kind,
        "question": prediction.question,
        "answer": prediction.answer,
        "masks": [encode_rle(mask) for mask in prediction.masks],
        "scores": [float(score) for score in prediction.scores],
        "iou": prediction.iou,
    }


class PredictionFile:
    """Writes one JSON line per prediction."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, prediction: Prediction) -> None:
        """Append one line."""
        self._file.write(json.dumps(to_record(prediction), ensure_ascii=False) + "\n")


class PredictionPick:
    """Keeps a few predictions, drawn evenly over all that it is given, for `sheet.prediction_sheet`."""

    def __init__(self, num_samples: int, wanted: int, rng: np.random.Generator) -> None:
        """Keep `wanted` predictions, or all where there are fewer; at most `num_samples` will come."""
        self._wanted = wanted
        # The smallest numbers win: an even draw also over an evaluation that ends early at its `limit`.
        self._lots = rng.permutation(num_samples)
        self._kept: dict[int, Prediction] = {}
        self._seen = 0

    @property
    def rows(self) -> list[Prediction]:
        """What was kept, in the order of the data."""
        return list(self._kept.values())

    def write(self, prediction: Prediction) -> None:
        """Keep the prediction while its lot is among the best."""
        self._kept[self._seen] = prediction
        self._seen += 1
        if len(self._kept) > self._wanted:
            del self._kept[max(self._kept, key=lambda index: self._lots[index])]
