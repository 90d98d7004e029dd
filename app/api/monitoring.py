"""Counters of the service in Prometheus's text format: requests, images, what comes in against the calibration data.

None of them contains file names, callers' addresses or anything else that callers sent.
"""

import json
import logging
import time
from collections import Counter as Tally
from collections import deque
from math import log
from pathlib import Path

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

from ..calibration import CALIBRATION_FILE
from ..classifier import Classifier
from ..prediction import Prediction
from ..service import Service

PATHS = ("/v1/classify", "/v1/products", "/v1/models", "/healthz", "/metrics", "/docs", "/openapi.json")
OTHER = "page"  # everything else, so that callers cannot create time series
# Gradio's routes by their beginning: the page and its clients call these.
GRADIO_PATHS = ("/gradio_api/queue/join", "/gradio_api/call", "/gradio_api/upload", "/gradio_api/mcp")
METHODS = ("GET", "HEAD", "POST")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STATUSES = ("ok", "review", "unknown", "error")
RECENT = 1000  # predictions over which shares and drift are computed
LEAST = 50  # of them, below which drift is noise
TINY = 1e-4  # the share of a category that never occurs, as usual for the population stability index

requests_log = logging.getLogger("snapshelf.requests")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line per counter that nobody reads


class Metrics:
    """One set per app, so that two in one process do not mix."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self.recent: dict[str, deque[Prediction]] = {}
        self.top_category = {name: top_categories(service.classifier(name)) for name in service.folders}
        self.expected = {name: calibrated_shares(folder) for name, folder in service.folders.items()}
        registry = self.registry
        self.requests = Counter(
            "snapshelf_requests",
            "Requests by path, method and status.",
            ("path", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "snapshelf_request_seconds", "From the request to the end of its answer.", ("path",), buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.images = Counter("snapshelf_images", "Classified images.", ("model", "status"), registry=registry)
        self.running = Gauge("snapshelf_running_requests", "Requests to the API now.", registry=registry)
        waiting = Gauge("snapshelf_queue_length", "Requests that wait for a place.", registry=registry)
        waiting.set_function(lambda: service.turns.waiting)
        recent = f"of the last {RECENT:,} images"
        self.shares = Gauge("snapshelf_share", f"Share {recent}.", ("model", "status"), registry=registry)
        self.unknown = Gauge(
            "snapshelf_mean_unknown_score", f"Mean unknown score {recent}.", ("model",), registry=registry
        )
        self.stability = Gauge(
            "snapshelf_population_stability", f"Index of the categories {recent} against the calibration data.",
            ("model",), registry=registry,
        )  # fmt: skip
        ProcessCollector(registry=registry)

    def count_prediction(self, model: str, prediction: Prediction) -> None:
        self.images.labels(model, prediction.status).inc()
        if model not in self.recent:
            self.recent[model] = deque(maxlen=RECENT)
        self.recent[model].append(
            Prediction(
                status=prediction.status,
                category_path=[self.top_category[model][prediction.top_k[0].label]] if prediction.top_k else [],
                unknown_score=prediction.unknown_score,
            )
        )

    def text(self) -> bytes:
        for model in list(self.recent):
            self._describe(model, list(self.recent[model]))
        return generate_latest(self.registry)

    def _describe(self, model: str, recent: list[Prediction]) -> None:
        for status in STATUSES:
            share = sum(prediction.status == status for prediction in recent) / len(recent)
            self.shares.labels(model, status).set(share)
        scores = [prediction.unknown_score for prediction in recent if prediction.unknown_score is not None]
        if scores:
            self.unknown.labels(model).set(sum(scores) / len(scores))
        expected = self.expected.get(model)
        predicted = Tally(prediction.category_path[0] for prediction in recent if prediction.category_path)
        if expected and predicted.total() >= LEAST:
            self.stability.labels(model).set(population_stability(expected, predicted))


def top_categories(classifier: Classifier) -> dict[str, str]:
    return {label: path[0] for label, path in zip(classifier.labels, classifier.taxonomy.paths, strict=True)}


def calibrated_shares(folder: Path) -> dict[str, float]:
    """How often each top category was predicted on the calibration data; {} where calibration.json does not say it."""
    try:
        shares = json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))["category_shares"]
        return {str(category): float(share) for category, share in shares.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def population_stability(expected: dict[str, float], predicted: Tally[str]) -> float:
    """The index (PSI): below 0.1 nothing has changed, above 0.25 much. expected: shares; predicted: counts."""
    total = predicted.total()
    index = 0.0
    for category in {*expected, *predicted}:
        before, now = max(expected.get(category, 0.0), TINY), max(predicted[category] / total, TINY)
        index += (now - before) * log(now / before)
    return index


class CountRequests:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = route(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        status = 500  # if no answer ever begins

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        self.metrics.running.inc(path in PATHS)
        try:
            await self.app(scope, receive, note_status)
        finally:
            self.metrics.running.dec(path in PATHS)
            self.metrics.requests.labels(path, method, str(status)).inc()
            seconds = time.perf_counter() - start
            if path != OTHER:  # the page keeps connections open to receive progress
                self.metrics.seconds.labels(path).observe(seconds)
            fields = {"path": path, "method": method, "status": status, "seconds": round(seconds, 4)}
            requests_log.info("request", extra={"fields": fields})


def route(scope: Scope) -> str:
    """The path without what callers choose."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path in PATHS:
        return path
    posts = GRADIO_PATHS if scope["method"] == "POST" else ()
    return next((known for known in posts if path.startswith(known)), OTHER)
