"""What a server gives to a stranger, and no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of size, length, number and time; each keeps memory or waiting bounded."""

    upload_megabytes: int = 20
    """Largest picture file."""
    uploads: int = 8
    """Large requests that are received at once."""
    waiting: int = 32
    """Requests that wait for the model; the next is refused."""
    talks: int = 64
    """Pictures that are remembered; the one that was used longest ago is forgotten first."""
    warm: int = 8
    """Talks whose language model cache is kept; the others are read again at their next question."""
    idle_minutes: int = 60
    """A picture that nobody asked about for so long is forgotten."""
    answer_tokens: int = 256
    """Longest answer."""
    masks: int = 64
    """Most masks of one answer; it ends there."""
    clicks: int = 20
    """Most clicks on one mask."""
    preview: int = 1600
    """Longest side of the picture as the page shows it, pixels."""

    @property
    def upload_bytes(self) -> int:
        return self.upload_megabytes * 1_000_000


class RefusedError(ValueError):
    """A request that is not answered, with the HTTP status that says so; its text is shown to the user."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
