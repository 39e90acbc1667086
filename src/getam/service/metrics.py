"""Counters of the service in Prometheus' format, a registry of its own each, by prometheus-client."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32)
OTHER = "other"  # paths nobody serves: one label, however many are tried

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class Metrics:
    """What is counted.

    Attributes:
        batches: observe(photos in a batch).
    """

    def __init__(self, taken: Callable[[], float], limit: int) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, processor, open files
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "getam_requests", "Answers by path and status.", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "getam_request_seconds", "From the request's head to the end of the answer.", ("path",),
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self.batches = Histogram(
            "getam_batch_photos", "Photos in one pass of the network.", buckets=SIZES, registry=self._registry
        )
        places = Gauge("getam_places_taken", "Requests inside.", registry=self._registry)
        places.set_function(taken)
        Gauge("getam_places", "Requests that may be inside.", registry=self._registry).set(limit)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)


class Counted:
    """An ASGI application whose answers are counted.

    Args:
        app: the application.
        metrics: where.
        paths: those it serves.
    """

    def __init__(self, app: Any, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = perf_counter(), 500

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else OTHER
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(perf_counter() - begun)
