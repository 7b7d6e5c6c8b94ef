"""The whole server: page and API in one, behind one guard."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from lisa.extras import require
from lisa.serve.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lisa.serve.host import Host


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Show a model in the browser, with a JSON API beside it (/api/openapi.json)."""

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
    limits: Limits = field(default_factory=Limits)


def build_app(host: Host) -> FastAPI:
    """The ASGI application for a model: / is the page, /api the JSON API."""
    gradio = _gradio()
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    from lisa.serve.guard import Guard
    from lisa.serve.json_api import failed, malformed, refused, router
    from lisa.serve.page import build_page, script, style, theme

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        host.close()

    app = FastAPI(
        title="LISA",
        description="Ask a picture a question; get an answer in words with a mask for everything that it points at.",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would load its scripts from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(router(host))
    app.add_exception_handler(ValueError, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(Exception, failed)
    app = gradio.mount_gradio_app(
        app,
        build_page(host),
        path="/",
        theme=theme(),
        css=style(),
        head=script(),
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=0,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )
    app.add_middleware(Guard, limits=host.limits)
    return app


def serve(args: ServeArgs) -> None:
    """Load the model and serve it until the process is told to end."""
    _gradio()  # told to be missing before the model loads
    import uvicorn

    from lisa.allocator import keep_freed_memory
    from lisa.checkpoint import load
    from lisa.serve.host import Host

    keep_freed_memory()
    host = Host(load(args.model, device=args.device, dtype=args.dtype), args.limits)
    print(
        f"{args.model} at http://{args.host}:{args.port} (the API: /api/openapi.json); end it with Ctrl+C", flush=True
    )
    # Keys of pictures stand in paths, so requests are not logged.
    uvicorn.run(build_app(host), host=args.host, port=args.port, log_level="warning", access_log=False)


def _gradio() -> ModuleType:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    return require("gradio", "the page", "lisa-segmentation[demo]")
