"""What is answered while the model loads: that it is not ready yet."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from lisa.serve.limits import Limits
from lisa.serve.protocol import timed_protocol


@contextmanager
def answering_not_ready(listening: socket.socket, limits: Limits, proxies: tuple[str, ...]) -> Iterator[None]:
    """Within it a thread answers 503 on the socket, which stays open: what connects at the end waits for the server."""
    config = uvicorn.Config(
        _not_ready,
        http=timed_protocol(limits, proxies),
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening.dup()],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


async def _not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    told = {"detail": "the model is being loaded; try again in a moment"}
    body = json.dumps({"status": "loading"} if scope["path"] == "/health" else told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"2"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
