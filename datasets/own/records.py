"""What each format of own data is read into: pictures, what is asked about them, and regions of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.images import Picture, read_header, read_picture
from lisa.conversation import Conversation


class Region(Protocol):
    """Pixels of a picture that are not drawn yet."""

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool, in the geometry of the decoded picture."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """One conversation about a picture, with what its answers point at."""

    regions: tuple[Region, ...]  # one per [SEG], in reading order
    names: tuple[str, ...]  # one per region; "" where the data does not say
    conversation: Conversation | None = None  # the user's own words; None: a template asks for names[0]
    kind: str = ""  # kind of question where the data names it


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OwnPicture:
    """A picture with all that is asked about it, at least one thing."""

    path: Path  # of the picture, or of the file that holds it
    image_id: str
    asked: tuple[Asked, ...]
    ignore: tuple[Region, ...]  # pixels that count for no mask
    data: bytes | None = None  # the picture's file where it is not one of its own

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as displayed, pixels, from the header alone."""
        return read_header(self.path, self.data).size

    def read(self) -> Picture:
        """Decode the picture."""
        return read_picture(self.path, self.data)


class OwnPictures(Protocol):
    """The pictures of one source, checked when it was opened; each is read anew when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> OwnPicture: ...
