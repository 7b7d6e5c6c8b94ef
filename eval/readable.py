"""Whether a validation set can be read, before a training run that will end with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.validation import ValidationSet

SHOWN = 5
"""Problems that are told; the others are counted."""


def check_readable(validation_set: ValidationSet, limit: int | None = None) -> None:
    """Read the first `limit` images (all when None) with their masks; ValueError tells what cannot be read."""
    total = len(validation_set) if limit is None else min(limit, len(validation_set))
    problems = []
    for index in range(total):
        try:
            validation_set.sample(index)
        except (ValueError, OSError) as problem:
            problems.append(str(problem))
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"{len(problems)} of {total} images of the validation set {validation_set.spec} cannot be read: "
            f"{'; '.join(problems[:SHOWN])}{more}. Mend them, or leave the set out of --val_dataset"
        )
