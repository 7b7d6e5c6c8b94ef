"""The end of a server: what runs is finished, what is new is refused."""

from __future__ import annotations

import time
from types import FrameType

import uvicorn

from lisa.serve.gate import Gate


class GracefulServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT: new requests get 503, and it ends when none runs any more; the second ends it."""

    def __init__(self, config: uvicorn.Config, gate: Gate, seconds: float) -> None:
        super().__init__(config)
        self._gate, self._seconds = gate, seconds
        self._deadline = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signals."""
        if self._gate.stopping:
            super().handle_exit(sig, frame)
            return
        self._deadline = time.monotonic() + self._seconds
        self._gate.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to end."""
        if self._gate.stopping and (not self._gate.running or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)
