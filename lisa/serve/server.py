"""The whole server: page and API in one, behind one gate."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lisa.extras import require
from lisa.serve.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lisa.serve.gate import Gate
    from lisa.serve.service import InferenceService

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Show a model in the browser, with a JSON API beside it (/api/v1/openapi.json)."""

    model: str = "tiny"
    """A model's folder or hub id, a released LISA among them, or "tiny" for the one that comes with the library."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), cuda, cuda:1, mps or cpu."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto is fp32 on a CPU and bf16 elsewhere."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which the server is called, beside localhost and `host`; "*" allows all, where a proxy checks them."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For tells who the client is."""
    allow_url: bool = False
    """Fetch images from public http(s) addresses that clients name."""
    limits: Limits = field(default_factory=Limits)


def build_app(service: InferenceService, args: ServeArgs | None = None) -> Gate:
    """The ASGI application for a model: / is the page, /api/v1 the JSON API, /health and /metrics tell how it is."""
    require("fastapi", "the server", "lisa-segmentation[demo]")
    from lisa.serve.gate import Gate
    from lisa.serve.metrics import Metrics
    from lisa.serve.origins import AllowedHosts
    from lisa.serve.status import status_router

    args = args or ServeArgs()
    metrics = Metrics(service)
    app = _application(service, args.allow_url)
    gate = Gate(app, service.limits, AllowedHosts(args.host, args.allowed_hosts), metrics)
    app.include_router(status_router(gate))
    return gate


def _application(service: InferenceService, allow_url: bool) -> FastAPI:
    from fastapi import FastAPI
    from fastapi.responses import FileResponse
    from fastapi.staticfiles import StaticFiles

    from lisa.serve.problems import add_handlers
    from lisa.serve.routes import PREFIX, router

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="LISA",
        description="Ask an image a question; get an answer in words with a mask for everything that it points at.",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # it would load its scripts from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(router(service, allow_url))
    add_handlers(app)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def serve(args: ServeArgs) -> None:
    """Load the model and serve it until the process is told to end; SIGTERM lets running requests finish."""
    require("fastapi", "the server", "lisa-segmentation[demo]")  # told to be missing before the model loads
    import uvicorn

    from lisa.serve.loading import answering_not_ready

    _log_to_stderr()
    listening = _listen(args.host, args.port)
    with answering_not_ready(listening, args.limits, args.trusted_proxies):
        service = _load(args)
        gate = build_app(service, args)

    from lisa.serve.graceful import GracefulServer
    from lisa.serve.protocol import timed_protocol

    print(
        f"{args.model} at http://{args.host}:{args.port} (the API: /api/v1/openapi.json); end it with Ctrl+C",
        flush=True,
    )
    config = uvicorn.Config(
        gate,
        http=timed_protocol(args.limits, args.trusted_proxies),
        ws="none",
        log_level="error",
        access_log=False,  # keys of sessions stand in paths; the gate logs routes instead
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,  # what runs has been waited for by then
        proxy_headers=bool(args.trusted_proxies),
        forwarded_allow_ips=list(args.trusted_proxies),
    )
    try:
        GracefulServer(config, gate, args.limits.shutdown_seconds).run([listening])
    finally:
        service.close()  # a second signal ends the server without its lifespan's end


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(
            f"{host}, port {port}: cannot be listened on ({error}); choose another --port or --host"
        ) from None


def _load(args: ServeArgs) -> InferenceService:
    from lisa.checkpoint import load
    from lisa.serve.service import InferenceService

    return InferenceService(load(args.model, device=args.device, dtype=args.dtype), args.limits)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("lisa.serve")
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
