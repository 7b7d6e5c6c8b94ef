"""Texts between the data and the model that reads them.

Own data is checked whole before a run begins, and what cannot be read is refused. Official data has known flaws, which
stop no run: a token that only the software may write gets a blank ("<s>" becomes "< s>"), a conversation that is too
long is left out with its masks in training, and asked with a shortened question in an evaluation. Each of them is
written down, and counted at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.mixture import Mixture
from datasets.own import OwnValidation
from datasets.sample import NothingToAskError, Sample
from lisa.flag_ranges import refuse

if TYPE_CHECKING:
    from datasets.validation import ValidationSet
    from lisa.processing import LisaProcessor
    from lisa.text_checks import Flaw, TextChecker

MOST_TOLD = 50
"""Problems of texts that are told one by one."""

USUAL_SIZE = (480, 640)
"""(H, W) of a usual image of COCO."""

ESCAPED, LEFT_OUT, SHORTENED = "written with a blank in a control word", "left out", "asked with a shortened question"


class TextNotes:
    """A file of JSON lines about texts of official data that were changed or left out, from several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told: set[tuple[str, str, str]] = set()

    def add(self, sample: Sample, done: str, what: str) -> None:
        """Write down what was done with a conversation; once per process."""
        key = (sample.data, sample.image_id, what)
        if key in self._told:
            return
        self._told.add(key)
        line = {"data": sample.data, "image": str(sample.image_path), "done": done, "what": what}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:  # a short line is appended in one piece
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def summary(self) -> list[str]:
        """A line for each dataset and thing done, with the number of conversations; none without a flaw."""
        if not self.path.is_file():
            return []
        lines = set(self.path.read_text(encoding="utf-8").splitlines())
        counts = Counter((record["data"], record["done"]) for record in map(json.loads, lines))
        return [
            f"note: {data}: {count} conversations were {done} ({self.path})"
            for (data, done), count in sorted(counts.items())
        ]


class ReadableTexts:
    """Sample -> the same with texts that the model can read."""

    def __init__(self, checker: TextChecker, notes: TextNotes, training: bool) -> None:
        self.checker, self.notes, self.training = checker, notes, training

    def __call__(self, sample: Sample) -> Sample:
        """The sample itself where all is well; NothingToAskError where nothing is left of it."""
        flaws = self._flaws(sample)
        if not any(flaws):
            return sample
        for conversation, flaw in zip(sample.conversations, flaws, strict=True):
            if flaw is not None and self.checker.escaped(conversation) is not conversation:
                self.notes.add(sample, ESCAPED, flaw.what)
        sample = replace(sample, conversations=tuple(map(self.checker.escaped, sample.conversations)))
        return self._without_long(sample) if self.training else self._with_short(sample)

    def _flaws(self, sample: Sample) -> list[Flaw | None]:
        """What stops the run; that the end of an answer is cut off is usual."""
        sizes = [sample.image.shape[:2]] * len(sample.conversations)
        flaws = self.checker.flaws(sample.conversations, sizes, self.training)
        return [flaw if flaw is not None and flaw.stops else None for flaw in flaws]

    def _without_long(self, sample: Sample) -> Sample:
        flaws = self._flaws(sample)
        for flaw in filter(None, flaws):
            self.notes.add(sample, LEFT_OUT, flaw.what)
        kept = [flaw is None for flaw in flaws]
        if not any(kept):
            raise NothingToAskError(f"{sample.image_path}: {flaws[0].what}")
        return _only(sample, kept)

    def _with_short(self, sample: Sample) -> Sample:
        """An evaluation leaves nothing out: questions that are too long are asked as far as they fit."""
        size, asked = sample.image.shape[:2], []
        for conversation, flaw in zip(sample.conversations, self._flaws(sample), strict=True):
            if flaw is not None:
                self.notes.add(sample, SHORTENED, flaw.what)
            asked.append(conversation if flaw is None else self.checker.shortened(conversation, size))
        return replace(sample, conversations=tuple(asked))


def _only(sample: Sample, kept: Sequence[bool]) -> Sample:
    """The sample with some of its conversations, and their masks."""
    conversations = sample.conversations
    of_mask = [is_kept for one, is_kept in zip(conversations, kept, strict=True) for _ in range(one.num_seg)]
    chosen = np.array(of_mask, dtype=bool)
    return replace(
        sample,
        conversations=tuple(one for one, is_kept in zip(conversations, kept, strict=True) if is_kept),
        masks=sample.masks[chosen],
        names=tuple(name for name, is_kept in zip(sample.names, of_mask, strict=True) if is_kept),
        types=tuple(kind for kind, is_kept in zip(sample.types, kept, strict=True) if is_kept),
    )


class ReadableValidation:
    """A validation set whose texts the model can read."""

    def __init__(self, validation_set: ValidationSet, readable: ReadableTexts) -> None:
        self.validation_set, self.readable = validation_set, readable
        self.spec, self.num_samples = validation_set.spec, validation_set.num_samples

    def __len__(self) -> int:
        return len(self.validation_set)

    def sample(self, index: int) -> Sample:
        """Picture `index` with all its conversations."""
        return self.readable(self.validation_set.sample(index))

    def train_masks(self, limit: int) -> Iterator[np.ndarray]:
        """As the set itself."""
        return self.validation_set.train_masks(limit)


def check_texts(
    processor: LisaProcessor,
    notes: Path,
    validation_sets: Sequence[ValidationSet],
    mixture: Mixture | None = None,
    say: Callable[[str], object] = print,
) -> list[ValidationSet]:
    """Refuse texts of own data that the model cannot read, all at once; from then on official data is made readable.

    Returns the validation sets to use. `notes` is the file that tells what was done with official texts, `say` is given
    what is worth knowing.
    """
    from lisa.text_checks import TextChecker

    checker, written = TextChecker(processor), TextNotes(notes)
    problems: list[str] = []
    for own in [*(mixture.own if mixture else ()), *(s for s in validation_sets if isinstance(s, OwnValidation))]:
        report = own.check_texts(checker)
        problems += report.problems
        if report.cut:
            say(
                f"note: {len(report.cut)} conversations are longer than --model_max_length, their end is not learned; "
                f"the first: {report.cut[0]}"
            )
    if len(problems) > MOST_TOLD:
        problems[MOST_TOLD:] = [f"... and {len(problems) - MOST_TOLD} more"]
    if mixture is not None and not mixture.is_own:
        problems += _room_problems(checker)
        mixture.readable = ReadableTexts(checker, written, training=True)
    refuse(problems)
    readable = ReadableTexts(checker, written, training=False)
    return [s if isinstance(s, OwnValidation) else ReadableValidation(s, readable) for s in validation_sets]


def _room_problems(checker: TextChecker) -> list[str]:
    """Where a usual image leaves no room for a question."""
    room = checker.room_for_a_question(USUAL_SIZE)
    if room > 0:
        return []
    length = checker.text.model_max_length
    return [
        f"--model_max_length {length}: an image of {USUAL_SIZE[1]} x {USUAL_SIZE[0]} pixels and the template leave no "
        f"room for a question; give {length - room + 64} or more"
    ]
