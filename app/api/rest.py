"""The REST API: /v1/classify, /v1/products, /v1/models, /healthz, /metrics, and /docs, which loads nothing from others.

What callers may ask for is bounded in limits.py and uploads.py; every error is a JSON object with a code and one line
that says what to do (problems.py).
"""

import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.routing import Route

from .. import limits
from ..batches import Batch
from ..guard.exposure import Exposure
from ..guard.forms import FIELD
from ..guard.prefix import PutPrefixOn
from ..images import ImageError, ImageSource
from ..service import DIGITS, TOP_K, Service, image_error
from .monitoring import CountRequests, Metrics
from .problems import NoImageError, add_error_handlers, documented
from .products import add_products
from .schemas import Answer, FileProblem, Health, Model, Result
from .uploads import Uploads, file_name

VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {
        FIELD: {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": f"at most {limits.MAX_BATCH_FILES} files of {limits.megabytes(limits.MAX_FILE_BYTES)}: "
            "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC, or zips of them",
        }
    },
}


def create_api(service: Service, exposure: Exposure) -> FastAPI:
    """The ASGI application. Every model is loaded now, so that a broken one stops the start. Raises UserError."""
    for name in service.names:
        service.classifier(name)
    app = FastAPIOffline(
        title="Snapshelf",
        description="Product photos into catalogue categories.",
        version="1",
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # which would send openapi.json to another server
    )
    metrics = Metrics(service)
    service.observers.append(metrics.count_prediction)
    if exposure.root_path:
        app.add_middleware(PutPrefixOn, root_path=exposure.root_path)
    app.add_middleware(CountRequests, metrics=metrics)
    add_error_handlers(app)
    add_classify(app, service)
    add_products(app, service, FORM)
    add_models(app, service)
    add_health(app, service)
    add_metrics(app, metrics, exposure)
    add_rest_of_v1(app)
    return app


def add_classify(app: FastAPI, service: Service) -> None:
    model_names: Any = Literal[tuple(service.names)]  # known only at run time

    @app.post(
        "/v1/classify",
        tags=["classify"],
        summary="Classify one image or many",
        responses=documented(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
    )
    def classify(
        files: Annotated[list[UploadFile], Depends(Uploads().receive)],
        model: Annotated[model_names, Query(description="a name from /v1/models")] = service.default,
        top_k: Annotated[int, Query(ge=1, le=limits.MAX_TOP_K, description="how many labels to list")] = TOP_K,
    ) -> Answer:
        """A zip is a row per image in it. An unreadable image among others is a row with the reason; the request
        fails only if none is readable."""
        start = time.perf_counter()
        end = time.monotonic() + limits.MAX_BATCH_SECONDS
        names, batch = [], Batch([(file_name(file), file.file) for file in files])

        def sources() -> Iterator[ImageSource | ImageError]:
            for name, source in batch.images(end):
                names.append(name)
                yield source

        predictions = list(service.classify_stream(sources(), model, top_k, end))
        seconds = time.perf_counter() - start
        results = [
            Result(file=name, **prediction.to_dict(DIGITS)) for name, prediction in zip(names, predictions, strict=True)
        ]
        if all(result.status == "error" for result in results):
            cause = image_error(predictions[0].error, predictions[0].error_kind)
            raise NoImageError(cause, [FileProblem(file=row.file, reason=row.error or "") for row in results])
        return Answer(model=model, milliseconds=round(1000 * seconds, 1), results=results)


def add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", tags=["classify"], summary="The models and their labels")
    def models() -> list[Model]:
        return [describe(service, name) for name in service.names]


def describe(service: Service, name: str) -> Model:
    classifier = service.classifier(name)
    return Model(
        name=name,
        default=name == service.default,
        labels=classifier.labels,
        levels=classifier.taxonomy.levels,
        image_size=classifier.image_size,
        precision=classifier.precision,
        calibrated=classifier.calibration is not None,
    )


def add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operation"], summary="Whether the server answers")
    async def healthz() -> Health:
        return Health(status="ok", models=service.names)


def add_metrics(app: FastAPI, metrics: Metrics, exposure: Exposure) -> None:
    @app.get(
        "/metrics",
        tags=["operation"],
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def show_metrics(request: Request) -> Response:
        if not exposure.shows_metrics_to(request.scope):
            raise HTTPException(404, "The counters are not shown here; --metrics on shows them to everybody")
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def add_rest_of_v1(app: FastAPI) -> None:
    """Without it the page, which answers for everything else, would answer in HTML."""

    @app.api_route("/v1/{rest:path}", methods=VERBS, include_in_schema=False)
    async def unknown(request: Request) -> None:
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        routes = [route for route in app.routes if isinstance(route, Route) and route.path == path]
        known = {verb for route in routes for verb in route.methods or ()}
        if known:
            raise HTTPException(405, f"{path} takes {' or '.join(sorted(known))}", {"Allow": ", ".join(sorted(known))})
        raise HTTPException(404, "There is no such address; /docs lists what there is")
