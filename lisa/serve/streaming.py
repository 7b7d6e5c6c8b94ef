"""An answer while it is made, as server-sent events.

Events, each with JSON: `text` {"text": all words so far}, `mask` (a mask with its outline, without its pixels), then
`answer` {"text", "turn"} or `error` {"detail"}.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lisa.serve.limits import RefusedError
from lisa.serve.schemas import MaskOut
from lisa.serve.service import InferenceService
from lisa.serve.sessions import Mask, Progress, StoppedError

LOG = logging.getLogger("lisa.serve")

ALIVE_SECONDS = 10
"""So often something is sent while the question waits, so that no proxy takes the connection for dead."""


def start_stream(service: InferenceService, session_id: str, question: str, answer_tokens: int) -> EventStream:
    """Ask, and answer with the events of the answer; ValueError and RefusedError at once where it cannot be asked."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    gone = threading.Event()

    def tell(kind: str, value: Any) -> None:
        with suppress(RuntimeError):  # the server has ended, and with it the loop: nobody listens
            loop.call_soon_threadsafe(events.put_nowait, (kind, value))

    progress = Progress(
        # The last character may be one of which bytes are still to come.
        on_text=lambda text: tell("text", {"text": text.rstrip("\ufffd")}),
        on_mask=lambda mask: tell("mask", mask_event(mask)),
        stopped=gone.is_set,
    )
    future = service.ask(session_id, question, answer_tokens, progress)
    future.add_done_callback(lambda done: tell("done", done))

    def stop() -> None:
        gone.set()  # the model stops at its next token
        future.cancel()  # and what has not begun leaves the line

    return EventStream(_events(events), stop)


class EventStream(StreamingResponse):
    """Sends events and calls `stop` at the end, also where the client was gone before the first one was sent."""

    def __init__(self, events: AsyncIterator[bytes], stop: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stop()


async def _events(events: asyncio.Queue[tuple[str, Any]]) -> AsyncIterator[bytes]:
    yield b": asked\n\n"
    while True:
        try:
            kind, value = await asyncio.wait_for(events.get(), ALIVE_SECONDS)
        except asyncio.TimeoutError:
            yield b": waiting\n\n"
            continue
        if kind == "done":
            yield _last_event(value)
            return
        yield encode_event(kind, value)


def _last_event(future: Any) -> bytes:
    try:
        session, turn = future.result()
    except (StoppedError, CancelledError):
        return encode_event("error", {"detail": "the answer was stopped"})
    except ValueError as error:
        status = error.status if isinstance(error, RefusedError) else 400
        return encode_event("error", {"detail": str(error), "status": status})
    except Exception:
        LOG.exception("an answer failed while it was streamed")
        return encode_event("error", {"detail": "something went wrong on the server; its log says what"})
    return encode_event("answer", {"text": turn.text, "turn": session.turns.index(turn)})


def mask_event(mask: Mask) -> dict[str, Any]:
    """A mask as the page draws it; its pixels are in the downloads."""
    return MaskOut.of(mask, outline=True).model_dump(exclude={"rle"})


def encode_event(kind: str, value: dict[str, Any]) -> bytes:
    """One event; JSON has no line breaks, so one `data` line holds it."""
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()
