"""What a server gives to a stranger, and no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of size, length, number and time; each keeps memory or waiting bounded."""

    upload_megabytes: int = 20
    """Largest image file."""
    full_megapixels: int = 16
    """Images of more megapixels are decoded at a reduced size; their masks still have the file's own size."""
    decode_megabytes: int = 700
    """Most memory that decoding one image may take; an image that needs more is refused."""
    receiving_megabytes: int = 256
    """Bodies of all requests that are being received, together."""
    waiting: int = 32
    """Requests that wait for the model; the next is refused."""
    requests_per_client: int = 24
    """Requests of one address at a time; the next is refused."""
    connections_per_client: int = 64
    """Connections of one address at a time; the next is closed."""
    header_seconds: float = 10
    """Time for the head of a request."""
    body_seconds: float = 15
    """Time for the body of a request, beside what its size takes at `slowest_kilobytes`."""
    slowest_kilobytes: int = 50
    """Slowest connection that is waited for, both ways, kB a second."""
    shutdown_seconds: float = 30
    """Time for running requests to end after SIGTERM."""
    sessions: int = 64
    """Chat sessions that are remembered; the one that was used longest ago is forgotten first."""
    cached_sessions: int = 8
    """Sessions whose language model cache is kept; the others are read again at their next question."""
    idle_minutes: float = 60
    """A session in which nobody asked for so long is forgotten."""
    answer_tokens: int = 256
    """Longest answer."""
    masks: int = 64
    """Most masks of one answer; it ends there."""
    clicks: int = 20
    """Most clicks on one mask."""
    preview: int = 1600
    """Longest side of the image as the page shows it, pixels."""

    @property
    def upload_bytes(self) -> int:
        return self.upload_megabytes * 1_000_000


STOPPING = "the server is shutting down; try again in a moment"


class RefusedError(ValueError):
    """A request that is not answered, with the HTTP status that says so; its text is shown to the user."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
