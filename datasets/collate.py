"""Samples -> Batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.sample import Sample
    from lisa.processing import Batch, LisaProcessor


def collate(samples: Sequence[Sample], processor: LisaProcessor) -> Batch:
    """One batch of B samples: offset[b]:offset[b + 1] are the conversations of sample b.

    A ValueError of the processor is told with the picture's file.
    """
    try:
        return processor(
            [sample.image for sample in samples],
            [sample.conversations for sample in samples],
            masks=[sample.masks for sample in samples],
            ignore=[sample.ignore for sample in samples],
            names=[sample.names for sample in samples],
        )
    except ValueError:
        _name_the_file(samples, processor)
        raise


def _name_the_file(samples: Sequence[Sample], processor: LisaProcessor) -> None:
    """Raise the error again, with the picture whose conversation it is about."""
    for sample in samples:
        _, (shape,) = processor.pictures.pixels([sample.image])
        picture = processor.pictures.text(shape)
        for conversation in sample.conversations:
            try:
                processor.text.encode(conversation, True, picture)
            except ValueError as error:
                raise ValueError(f"{sample.image_path}: {error}") from error
