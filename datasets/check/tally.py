"""What a dataset holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Tally:
    """Counts of one split of a dataset."""

    images: int = 0
    samples: int = 0  # items that a loader has: pictures, conversations, records
    sentences: int = 0  # phrases or questions; 0 where classes are asked for by name
    masks: int = 0
    empty: int = 0  # masks without a pixel
    no_target: int = 0  # records that say that the thing asked for is not there; they have no mask
    area_sum: float = 0.0  # of the masks, each as a share of its picture
    ignore_sum: float = 0.0  # of the ignored shares of the pictures
    annotated: int = 0  # pictures that could have ignored pixels

    def add_mask(self, share: float) -> None:
        """A mask that covers this share of its picture."""
        self.masks += 1
        self.empty += share == 0
        self.area_sum += share

    def add_ignored(self, share: float) -> None:
        """A picture this share of which counts neither as hit nor as miss."""
        self.annotated += 1
        self.ignore_sum += share

    @property
    def mean_area(self) -> float | None:
        """Mean share of the picture, over the masks that are not empty; None where there is none."""
        drawn = self.masks - self.empty
        return self.area_sum / drawn if drawn else None

    @property
    def ignore_share(self) -> float | None:
        """Mean share of ignored pixels; None where the format cannot ignore any."""
        return self.ignore_sum / self.annotated if self.annotated else None
