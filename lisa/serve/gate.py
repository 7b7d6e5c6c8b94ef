"""What reaches the application at all, and what every answer carries: checks, limits, headers, request ids, metrics."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from lisa.serve.body import SMALL, Body, Message, Receive, Receiving, too_large
from lisa.serve.limits import STOPPING, Limits, RefusedError
from lisa.serve.metrics import Metrics
from lisa.serve.origins import AllowedHosts, check_origin

Send = Callable[[Message], Awaitable[None]]

LOG = logging.getLogger("lisa.serve")

WITH_IMAGE = ("/api/v1/ask", "/api/v1/ask/file", "/api/v1/sessions")
"""Paths whose requests may be as large as an image."""

OPEN_WHILE_STOPPING = ("/health", "/metrics")

HEADERS = [
    # Scripts and styles are files of this server; nothing is loaded from anywhere else.
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]

_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass
class _Request:
    """One request on its way."""

    scope: Message
    headers: dict[str, str]
    id: str
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    """Of the answer; 0 before it begins."""

    @property
    def client(self) -> str:
        return self.scope["client"][0] if self.scope.get("client") else ""

    @property
    def has_two_lengths(self) -> bool:
        """Whether a proxy in front and this server may see different ends of the request (request smuggling)."""
        return "content-length" in self.headers and "transfer-encoding" in self.headers

    @property
    def route(self) -> str:
        """The path's template, which holds nobody's key."""
        path = getattr(self.scope.get("route"), "path", "")
        if not path and self.scope["path"].startswith("/static/"):
            path = "/static"
        return path or "none"


class Gate:
    """The ASGI application: everything else is behind it."""

    def __init__(self, app: Callable, limits: Limits, allowed_hosts: AllowedHosts, metrics: Metrics) -> None:
        self.app, self.limits, self.allowed_hosts, self.metrics = app, limits, allowed_hosts, metrics
        self.stopping = False
        """New requests are refused; those that run are finished."""
        self._running: Counter[str] = Counter()
        self._receiving = Receiving()
        metrics.running.set_function(lambda: self.running)
        metrics.receiving.set_function(lambda: self._receiving.bytes)

    @property
    def running(self) -> int:
        """Requests that are being worked on."""
        return self._running.total()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, which nothing here uses
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sent_id = headers.get("x-request-id", "")
        request = _Request(scope, headers, sent_id if _REQUEST_ID.fullmatch(sent_id) else uuid.uuid4().hex)
        send = self._with_headers(request, send)
        client = request.client
        self._running[client] += 1
        try:
            self._check(request)
            await self._pass_on(request, receive, send)
        except (RefusedError, HTTPException) as error:
            await _refuse(request, send, error)
        except Exception:
            # FastAPI has answered; what went wrong is for the log alone.
            LOG.exception("%s %s failed", request.id, request.route)
            if not request.status:
                await _refuse(request, send, RefusedError(500, "something went wrong on the server; its log says what"))
        finally:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
            self._note(request)

    def _check(self, request: _Request) -> None:
        """RefusedError for what is not to be looked at any further."""
        scope, headers, path = request.scope, request.headers, request.scope["path"]
        if self.stopping and path not in OPEN_WHILE_STOPPING:
            raise RefusedError(503, STOPPING)
        if request.has_two_lengths:
            raise RefusedError(400, "the request has both a Content-Length and a Transfer-Encoding; send one of them")
        self.allowed_hosts.check(headers.get("host"))
        check_origin(scope["method"], headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"))
        if ".." in path or "//" in path or "\\" in path or "\0" in path:
            raise RefusedError(404, "there is nothing here")
        if self._running[request.client] > self.limits.requests_per_client:
            raise RefusedError(
                429, f"{self.limits.requests_per_client} requests of this address are in work; try again in a moment"
            )
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._largest_body(path):
            raise too_large(self._largest_body(path), self.limits)

    async def _pass_on(self, request: _Request, receive: Receive, send: Send) -> None:
        body = Body(receive, self._largest_body(request.scope["path"]), self.limits, self._receiving)
        try:
            await self.app(request.scope, body.receive, send)
        finally:
            body.forget()

    def _largest_body(self, path: str) -> int:
        """Bytes of a request to a path: base64 makes an image larger by a third."""
        return self.limits.upload_bytes * 4 // 3 + SMALL if path in WITH_IMAGE else SMALL

    def _with_headers(self, request: _Request, send: Send) -> Send:
        cache = b"no-store" if request.scope["path"].startswith("/api/") else b"no-cache"
        more = [*HEADERS, (b"cache-control", cache), (b"x-request-id", request.id.encode())]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *more]}
                if request.status in (408, 413, 421, 429, 503) or request.has_two_lengths:
                    message["headers"].append((b"connection", b"close"))  # what else is being sent is not read
                if request.status in (429, 503):
                    message["headers"].append((b"retry-after", b"2"))
            await send(message)

        return with_headers

    def _note(self, request: _Request) -> None:
        seconds = time.monotonic() - request.began
        method = request.scope["method"] if request.scope["method"] in _METHODS else "other"
        self.metrics.count(method, request.route, request.status, seconds)
        if request.route not in OPEN_WHILE_STOPPING:
            LOG.info("%s %s %s %d %.3f s", request.id, method, request.route, request.status, seconds)


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


async def _refuse(request: _Request, send: Send, error: RefusedError | HTTPException) -> None:
    if request.status:
        return  # the answer has begun
    status = error.status if isinstance(error, RefusedError) else error.status_code
    detail = str(error) if isinstance(error, RefusedError) else str(error.detail)
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
