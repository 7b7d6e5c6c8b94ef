"""What reaches the server at all: the routes that the page and the API use, of bounded size.

Gradio comes with routes that serve files, take uploads, fetch from other servers and call any function. The page needs
none of them, so they are closed here, whatever Gradio's own checks say: a file of the server has no way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from lisa.serve.limits import Limits, RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

GRADIO_ROUTES = {
    "GET": re.compile(
        r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/[\w./-]+"
        r"|/gradio_api/(startup-events|app_id|theme\.css|queue/data|heartbeat/\w+)"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|cancel|reset)/?"),
}
"""What the page needs of Gradio."""

SMALL = 64_000
"""Bytes of a request that is no picture."""

HEADERS = [
    # Gradio makes functions of text and writes styles into the page; nothing is loaded from anywhere else.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'; frame-ancestors 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: Callable, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self._uploads = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, which nothing here uses
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]
        largest = self._largest_body(path)
        declared = _content_length(scope)
        is_upload = scope["method"] == "POST" and largest > SMALL and (declared is None or declared > SMALL)
        try:
            if not _is_open(scope["method"], path):
                raise RefusedError(404, "there is nothing here")
            if declared is not None and declared > largest:
                raise self._too_large(largest)
            if is_upload and self._uploads >= self.limits.uploads:
                raise RefusedError(429, f"{self._uploads} pictures are being sent already; try again in a moment")
        except RefusedError as error:
            await _refuse(send, error)
            return
        self._uploads += is_upload
        try:
            await self._pass_on(scope, receive, send, largest)
        finally:
            self._uploads -= is_upload

    async def _pass_on(self, scope: Message, receive: Receive, send: Send, largest: int) -> None:
        started, received = False, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > largest:
                # FastAPI makes a 400 of any other error while it reads a body.
                raise HTTPException(413, str(self._too_large(largest)))
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        try:
            take = counted
            if scope["path"].rstrip("/") == "/gradio_api/queue/join":
                take = await _only_plain_values(counted)
            await self.app(scope, take, with_headers)
        except RefusedError as error:
            if not started:
                await _refuse(send, error)
        except HTTPException as error:
            if not started:
                await _refuse(send, RefusedError(error.status_code, error.detail))

    def _largest_body(self, path: str) -> int:
        """Bytes of a request to a path: base64 makes a picture larger by a third."""
        if path in ("/api/ask", "/api/ask/file", "/api/talks"):
            return self.limits.upload_bytes * 4 // 3 + SMALL
        return SMALL

    def _too_large(self, largest: int) -> RefusedError:
        if largest == SMALL:
            return RefusedError(413, f"the request has more than {SMALL // 1000} kB; shorten it")
        return RefusedError(413, f"the picture file has more than {self.limits.upload_megabytes} MB; make it smaller")


def _is_open(method: str, path: str) -> bool:
    if ".." in path or "//" in path or "\\" in path or "\0" in path:
        return False
    if path.startswith("/api/"):
        return True
    routes = GRADIO_ROUTES.get("GET" if method == "HEAD" else method)
    return routes is not None and routes.fullmatch(path) is not None


async def _only_plain_values(receive: Receive) -> Receive:
    """Read a request to Gradio's queue; RefusedError where a value is more than a text, a number or a truth value.

    Gradio takes an object with a "path" for a file that it may open, or fetch from another server.
    """
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request was cut off")
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        sent = json.loads(body)
        plain = all(value is None or isinstance(value, str | int | float) for value in sent["data"])
        plain = plain and not sent.get("event_data")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        plain = False
    if not plain:
        raise RefusedError(400, "the page sends texts only; reload it")
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _content_length(scope: Message) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


async def _refuse(send: Send, error: RefusedError) -> None:
    body = json.dumps({"detail": str(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    headers.append((b"connection", b"close"))  # what else is being sent is not read
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
