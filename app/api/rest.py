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
from ..classifier import Classifier, Product
from ..guard.exposure import Exposure
from ..guard.forms import FIELD
from ..guard.prefix import PutPrefixOn
from ..images import ImageError, ImageSource
from ..limits import BatchTime
from ..service import DIGITS, TOP_K, Service, check_reads_titles, image_error
from ..titled import TitledImage
from .monitoring import CountRequests, Metrics
from .problems import NoImageError, add_error_handlers, documented
from .products import add_products
from .schemas import Answer, FileProblem, Health, Model, Result
from .titles import SCHEMA, check_titles, titled
from .uploads import Uploads, expected_of, file_name

VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
FILES = {
    FIELD: {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "description": f"at most {limits.MAX_BATCH_FILES} files of {limits.megabytes(limits.MAX_FILE_BYTES)}: "
        "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC, or zips of them",
    }
}
FORM = {"type": "object", "required": [FIELD], "properties": FILES}


TITLED_FORM = {"type": "object", "properties": {**FILES, **SCHEMA}}


def create_api(service: Service, exposure: Exposure) -> FastAPI:
    """The ASGI application. Every model is loaded now, so that a broken one stops the start. Raises UserError."""
    for name in service.names:
        _ = service.classifier(name).titles
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
    form = TITLED_FORM if any(map(service.reads_titles, service.names)) else FORM

    @app.post(
        "/v1/classify",
        tags=["classify"],
        summary="Classify one image or many",
        responses=documented(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}},
        response_model_exclude_unset=True,  # what only some models answer is not there for the others
    )
    def classify(
        request: Request,
        files: Annotated[list[UploadFile], Depends(Uploads(service.turns, with_titles=True).receive)],
        model: Annotated[model_names, Query(description="a name from /v1/models")] = service.default,
        top_k: Annotated[int, Query(ge=1, le=limits.MAX_TOP_K, description="how many labels to list")] = TOP_K,
    ) -> Answer:
        """A zip is a row per image in it. An unreadable image among others is a row with the reason; the request
        fails only if none is readable."""
        start = time.perf_counter()
        batch_time = BatchTime()
        titles: list[str | None] = request.state.titles
        check_reads_titles(service.classifier(model), titles)
        names = ["" for _ in titles] if not files else []

        def images() -> Iterator[tuple[str, ImageSource | ImageError]]:
            """When it is this request's turn: to read the lists of zips is work, too."""
            batch = Batch([(file_name(file), file.file) for file in files])
            check_titles(titles, batch.count)
            for name, source in batch.images(batch_time):
                names.append(name)
                yield name, source

        def sources() -> Iterator[Product]:
            check_titles(titles, 0)
            yield from titled(images(), titles) if files else (TitledImage(None, title) for title in titles)

        predictions = list(service.classify_stream(sources(), model, top_k, batch_time, expected_of(files)))
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
        attributes=labels_of_attributes(classifier),
        reads_titles=classifier.titles is not None,
    )


def labels_of_attributes(classifier: Classifier) -> dict[str, list[str]]:
    return {name: head.labels for name, head in classifier.attributes.heads.items()} if classifier.attributes else {}


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
