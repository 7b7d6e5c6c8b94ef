"""The refer_seg family: phrases that refer to one thing of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.images import read_picture
from datasets.refer import ReferPicture, Sentence, Target, load_refer, refer_layout
from datasets.sample import Sample, SampleOptions
from datasets.templates import answer, choose_some, short_question
from datasets.tree import Tree
from lisa.conversation import Conversation


class ReferSeg:
    """Training pictures of a dataset of the refer format, each with some of its phrases."""

    def __init__(self, data: str, pictures: Sequence[ReferPicture], options: SampleOptions) -> None:
        self.data = data
        self._pictures = pictures
        self._options = options

    def __len__(self) -> int:
        return len(self._pictures)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Picture `index` with up to `num_classes_per_sample` of its phrases, one conversation each."""
        record = self._pictures[index]
        picture = read_picture(record.path)
        pairs = choose_some(rng, record.pairs, self._options.num_classes_per_sample)
        return Sample(
            data=self.data,
            image_id=record.image_id,
            image_path=record.path,
            image=picture.pixels,
            conversations=tuple(self._conversation(target, phrase, rng) for target, phrase in pairs),
            masks=record.masks([target.parts for target, _ in pairs], picture),
            ignore=np.zeros(picture.size, dtype=bool),
            names=tuple(target.name for target, _ in pairs),
            types=tuple(phrase.kind for _, phrase in pairs),
        )

    def _conversation(self, target: Target, phrase: Sentence, rng: np.random.Generator) -> Conversation:
        question = short_question(rng, phrase.text)
        return Conversation.of(question, answer(rng, target.name, self._options.name_targets))


def open_refer_seg(place: Path | Tree, name: str, options: SampleOptions) -> ReferSeg:
    """The train split of a dataset of the refer format, e.g. "refcoco"."""
    split_by = refer_layout(name).split_by
    return ReferSeg(f"{name}|{split_by}|train", load_refer(place, name, split_by, "train"), options)
