"""The body of a request as it comes in: not too large, not too slowly, not too much of everybody's together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from lisa.serve.limits import Limits, RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

SMALL = 64_000
"""Bytes of a request that holds no image."""


class Receiving:
    """Bytes of all bodies that are being received."""

    def __init__(self) -> None:
        self.bytes = 0


class Body:
    """Wraps the `receive` of one request; what is wrong ends in starlette's HTTPException.

    FastAPI would make a 400 of any other error while it reads a body.
    """

    def __init__(self, receive: Receive, largest: int, limits: Limits, receiving: Receiving) -> None:
        self._receive, self._largest, self._limits, self._receiving = receive, largest, limits, receiving
        self._began = time.monotonic()
        self._bytes = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next piece."""
        if self._complete:
            return await self._receive()  # tells when the client goes away
        try:
            message = await asyncio.wait_for(self._receive(), self._seconds_left())
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the request came too slowly; after {self._bytes} bytes nobody waits") from None
        size = len(message.get("body", b""))
        self._bytes += size
        self._receiving.bytes += size
        if self._bytes > self._largest:
            raise HTTPException(413, str(too_large(self._largest, self._limits)))
        if self._receiving.bytes > self._limits.receiving_megabytes * 1_000_000:
            raise HTTPException(503, "too much is being sent to the server at the moment; try again in a moment")
        if not message.get("more_body", False):
            self._complete = True
            self.forget()
        return message

    def forget(self) -> None:
        """The body is no longer being received."""
        self._receiving.bytes -= self._bytes
        self._bytes = 0

    def _seconds_left(self) -> float:
        granted = self._limits.body_seconds + self._bytes / (self._limits.slowest_kilobytes * 1000)
        return max(0.0, self._began + granted - time.monotonic())


def too_large(largest: int, limits: Limits) -> RefusedError:
    """The error for a body beyond its limit."""
    if largest == SMALL:
        return RefusedError(413, f"the request has more than {SMALL // 1000} kB; shorten it")
    return RefusedError(413, f"the image file has more than {limits.upload_megabytes} MB; make it smaller")
