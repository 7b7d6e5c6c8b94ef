"""What a server counts, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lisa.serve.service import InferenceService

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Of one server; process_resident_memory_bytes and the like are counted where the system tells them."""

    def __init__(self, service: InferenceService) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "lisa_requests", "Requests by route and status.", ["method", "route", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "lisa_request_seconds", "Time of whole requests.", ["route"], buckets=SECONDS, registry=self._registry
        )
        self.running = Gauge("lisa_requests_running", "Requests that are being worked on.", registry=self._registry)
        self.receiving = Gauge("lisa_receiving_bytes", "Bodies that are being received.", registry=self._registry)
        self._gauge("lisa_queue_length", "Requests that wait for the model or are with it.", service.queue)
        self._gauge("lisa_large_queue_length", "Large images and downloads that wait or are in work.", service.large)
        self._gauge("lisa_sessions", "Chat sessions that are remembered.", service.sessions)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request that has ended; route is a template, never a path with somebody's key in it."""
        self._requests.labels(method, route, status).inc()
        self._latency.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, what: str, sized: object) -> None:
        Gauge(name, what, registry=self._registry).set_function(lambda: len(sized))
