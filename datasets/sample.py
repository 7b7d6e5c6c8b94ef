"""The one record that every family of datasets returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lisa.conversation import Conversation


class NothingToAskError(ValueError):
    """A picture holds nothing that could be asked for; another one is to be drawn."""


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How samples are drawn from the pictures of a dataset."""

    num_classes_per_sample: int = 3
    """Most classes, phrases or sentences asked for in one picture; each has its own conversation."""
    explanatory: float = 0.1
    """Probability of words alone as the answer for a ReasonSeg picture with an explanation; -1: never any."""
    name_targets: float = 0.0
    """Probability that an answer names its target before [SEG]; 0 gives the reference's answers."""
    ignored_is_background: bool = False
    """Count ignored pixels as background, as the reference does in training."""

    def __post_init__(self) -> None:
        if self.num_classes_per_sample < 1:
            raise ValueError(f"num_classes_per_sample is {self.num_classes_per_sample}, not at least 1")
        if not (0 <= self.explanatory <= 1 or self.explanatory == -1):
            raise ValueError(f"explanatory is {self.explanatory}, but must be a probability, or -1 for none")
        if not 0 <= self.name_targets <= 1:
            raise ValueError(f"name_targets is {self.name_targets}, but must be a probability")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One picture with its conversations and masks."""

    data: str
    """The dataset: "refcoco|unc|train", "ade20k", "ReasonSeg|val", ..."""
    image_id: str
    """Unique within `data`: the stem of the file or the COCO id."""
    image_path: Path
    image: np.ndarray
    """(H, W, 3) uint8 RGB, EXIF orientation applied."""
    conversations: tuple[Conversation, ...]
    masks: np.ndarray
    """(N, H, W) bool: one per [SEG], in reading order over the conversations; all false = no such thing."""
    ignore: np.ndarray
    """(H, W) bool: pixels that count for no mask."""
    names: tuple[str, ...]
    """N: what each mask shows, such that "the " may stand before it; "" where the data does not say."""
    types: tuple[str, ...]
    """One per conversation: the kind of question where the data names it, else ""."""
    things: np.ndarray | None = None
    """(K, H, W) bool: every annotated thing, in validation sets whose data has them; else None."""

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        if self.image.shape != (*size, 3) or self.image.dtype != np.uint8:
            raise self._error(f"the image is {self.image.dtype} {self.image.shape}, not uint8 (H, W, 3)")
        num_seg = sum(conversation.num_seg for conversation in self.conversations)
        if not num_seg == len(self.masks) == len(self.names):
            raise self._error(f"{num_seg} [SEG], {len(self.masks)} masks and {len(self.names)} names")
        if len(self.types) != len(self.conversations):
            raise self._error(f"{len(self.types)} types for {len(self.conversations)} conversations")
        for what, array in (("masks", self.masks), ("things", self.things), ("ignore", self.ignore[None])):
            if array is not None and (array.dtype != bool or array.ndim != 3 or array.shape[1:] != size):
                raise self._error(f"{what}: {array.dtype} of shape {array.shape}, but the picture is {size}")

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"{self.image_path} ({self.data}): {problem}")


class Dataset(Protocol):
    """Pictures of one dataset, drawn by index; every random choice comes from `rng`."""

    data: str

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> Sample: ...
