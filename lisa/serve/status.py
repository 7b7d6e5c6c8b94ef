"""How the server is, for those who run it."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from lisa.serve.gate import Gate
from lisa.serve.metrics import CONTENT_TYPE
from lisa.serve.routes import REFUSALS
from lisa.serve.schemas import Health

NOT_READY = {**REFUSALS, 503: {"model": Health, "description": "The model is being loaded, or it is shutting down."}}


def status_router(gate: Gate) -> APIRouter:
    """/health and /metrics."""
    api = APIRouter(responses=NOT_READY)

    @api.head("/health", include_in_schema=False)  # as load balancers ask
    @api.get("/health", response_model=Health)
    async def health() -> JSONResponse:
        """Whether questions are answered."""
        return JSONResponse({"status": "stopping" if gate.stopping else "ready"}, 503 if gate.stopping else 200)

    @api.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Requests, latency, queue and memory in Prometheus' text format."""
        return Response(gate.metrics.text(), media_type=CONTENT_TYPE)

    return api
