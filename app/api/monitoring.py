"""Counters of the service in Prometheus's text format: requests, their duration, images, memory.

None of them contains file names, callers' addresses or anything else that callers sent.
"""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/v1/classify", "/v1/models", "/healthz", "/metrics", "/docs", "/openapi.json")
OTHER = "page"  # everything else, so that callers cannot create time series
METHODS = ("GET", "HEAD", "POST")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line per counter that nobody reads


class Metrics:
    """One set per app, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "snapshelf_requests", "Requests by path, method and status.", ("path", "method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "snapshelf_request_seconds", "From the request to the end of its answer.", ("path",), buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.images = Counter(
            "snapshelf_images", "Images that the API classified.", ("model", "status"), registry=self.registry
        )
        self.running = Gauge("snapshelf_running_requests", "Requests to the API now.", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else OTHER
        method = scope["method"] if scope["method"] in METHODS else "other"
        status = 500  # if no answer ever begins

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        self.metrics.running.inc(path != OTHER)
        try:
            await self.app(scope, receive, note_status)
        finally:
            self.metrics.running.dec(path != OTHER)
            self.metrics.requests.labels(path, method, str(status)).inc()
            if path != OTHER:  # the page keeps connections open to receive progress
                self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
