"""The page and a REST API in one server, for people and for other services.

    python -m app.server                       # http://127.0.0.1:7860 the page, /docs the API
    curl -F files=@shirt.jpg http://127.0.0.1:7860/v1/classify

Nothing is asked of another server, /docs included. What callers may ask for is bounded in limits.py and uploads.py;
every error is a JSON object with a code, and one line that says what to do.
"""

import argparse
import sys
import time
from http import HTTPStatus
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from . import limits
from .limits import BusyError, NotAnImageError, RequestError, TooLargeError, UnreadableError
from .monitoring import CountRequests, Metrics
from .service import TOP_K, Service, as_dict, image_error
from .uploads import FIELD, MalformedError, NoFileError, TooSlowError, Uploads, WrongTypeError, file_name

HOST, PORT = "127.0.0.1", 7860
MAX_CONNECTIONS = 500
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
# The first class that fits decides.
STATUS = {
    BusyError: (503, "busy"),
    WrongTypeError: (415, "wrong_type"),
    NotAnImageError: (415, "not_an_image"),
    TooLargeError: (413, "too_large"),
    UnreadableError: (422, "unreadable_image"),
    NoFileError: (422, "no_file"),
    TooSlowError: (408, "too_slow"),
    MalformedError: (400, "malformed"),
    RequestError: (422, "invalid"),
}
EXPLANATIONS = {
    400: "The form is damaged or broke off",
    404: "There is no such address",
    405: "This address takes another method",
    408: "The request arrived too slowly",
    413: "Too many bytes, pixels or files",
    415: "No form, or no image in it: what counts is a file's content, not its name",
    422: "No image can be read (damaged), or a parameter is wrong",
    503: "Too busy; Retry-After says when to come back",
}
FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {
        FIELD: {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": f"at most {limits.MAX_BATCH_FILES} files of {limits.megabytes(limits.MAX_FILE_BYTES)}: "
            "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF",
        }
    },
}


class Score(BaseModel):
    label: str
    confidence: float = Field(ge=0, le=1)


class Result(BaseModel):
    """What the model says about one image; with status "error" only `error` says why."""

    file: str = Field(description="the name that came with the upload")
    status: Literal["ok", "review", "unknown", "error"]
    label: str | None = Field(description="for review the deepest category that is sure; null for unknown")
    confidence: float | None = Field(ge=0, le=1, description="of label, or of the best one where label is null")
    category_path: list[str] = Field(description="from the broadest category down to label")
    path_confidences: list[float] = Field(description="for each level of category_path")
    top_k: list[Score] = Field(description="the most probable labels, best first")
    unknown_score: float | None = Field(description="the higher the less like a product that the model knows")
    error: str | None = None


class Answer(BaseModel):
    model: str
    milliseconds: float = Field(description="from the end of the upload to the answer")
    results: list[Result] = Field(description="in the order of the files")


class Model(BaseModel):
    name: str
    default: bool
    labels: list[str]
    levels: list[str] = Field(description="of the taxonomy, broad first")
    image_size: tuple[int, int] = Field(description="height and width that the model reads, in pixels")
    precision: str
    calibrated: bool = Field(description="whether it can say review and unknown")


class Health(BaseModel):
    status: Literal["ok"]
    models: list[str]


class FileProblem(BaseModel):
    file: str
    reason: str


class Problem(BaseModel):
    """Every answer that is no success."""

    code: str
    message: str
    files: list[FileProblem] = Field(default=[], description="the images that cannot be used, and why")


class NoImageError(RequestError):
    """No image of a request can be used."""

    def __init__(self, problems: list[FileProblem]) -> None:
        self.problems = problems
        self.first = image_error(problems[0].reason)
        count = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{self.first}{count}")


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        app = create_app(Service(), page=not args.no_page)
    except ValueError as error:  # a model, or a dataset to review, that cannot be used
        print(f"server: error: {error}", file=sys.stderr)
        return 2
    # No access log: the addresses of a private Space carry a signature.
    uvicorn.run(app, host=args.host, port=args.port, access_log=False, limit_concurrency=MAX_CONNECTIONS)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__.splitlines()[0])
    parser.add_argument("--host", default=HOST, help="0.0.0.0 lets other machines in (default: %(default)s)")
    parser.add_argument("--port", type=port_number, default=PORT, help="default: %(default)s")
    parser.add_argument("--no_page", action="store_true", help="the API alone, without the page")
    return parser


def port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return int(text)


def create_app(service: Service, page: bool = True) -> FastAPI:
    """The ASGI application. Every model is loaded now, so that a broken one stops the start. Raises ValueError."""
    for name in service.names:
        service.classifier(name)
    app = FastAPIOffline(
        title="Snapshelf",
        description="Product photos into catalogue categories.",
        version="1",
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # which would send openapi.json to another server
    )
    metrics = Metrics()
    app.add_middleware(CountRequests, metrics=metrics)
    add_errors(app)
    add_classify(app, service, metrics)
    add_models(app, service)
    add_health(app, service, metrics)
    add_rest_of_v1(app)
    if page:
        from .app import mount_page

        mount_page(app, service)
    return app


def add_classify(app: FastAPI, service: Service, metrics: Metrics) -> None:
    names = Literal[tuple(service.names)]

    @app.post(
        "/v1/classify",
        tags=["classify"],
        summary="Classify one image or many",
        responses=documented(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
    )
    def classify(
        files: Annotated[list[UploadFile], Depends(Uploads().receive)],
        model: Annotated[names, Query(description="a name from /v1/models")] = service.default,
        top_k: Annotated[int, Query(ge=1, le=limits.MAX_TOP_K, description="how many labels to list")] = TOP_K,
    ) -> Answer:
        """An image among others that cannot be read is a row with the reason; the request fails where none can."""
        start = time.perf_counter()
        predictions = service.classify_batch((file.file.read() for file in files), model, top_k)
        seconds = time.perf_counter() - start
        results = [Result(file=file_name(file), **as_dict(one)) for file, one in zip(files, predictions, strict=True)]
        for result in results:
            metrics.images.labels(model, result.status).inc()
        if all(result.status == "error" for result in results):
            raise NoImageError([FileProblem(file=result.file, reason=result.error) for result in results])
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


def add_health(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operation"], summary="Whether the server answers")
    async def healthz() -> Health:
        return Health(status="ok", models=service.names)

    @app.get(
        "/metrics",
        tags=["operation"],
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def add_rest_of_v1(app: FastAPI) -> None:
    """Without it the page, which answers for everything else, would answer in HTML."""

    @app.api_route("/v1/{rest:path}", methods=VERBS, include_in_schema=False)
    async def unknown(request: Request) -> None:
        path = request.url.path
        known = {verb for route in app.routes if route.path == path for verb in route.methods}
        if known:
            raise HTTPException(405, f"{path} takes {' or '.join(sorted(known))}", {"Allow": ", ".join(sorted(known))})
        raise HTTPException(404, "There is no such address; /docs lists what there is")


def documented(*statuses: int) -> dict[int, dict]:
    return {status: {"model": Problem, "description": EXPLANATIONS[status]} for status in statuses}


def add_errors(app: FastAPI) -> None:
    """Every error in one shape, none with a stack trace or a path of this machine."""

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> JSONResponse:
        cause = error.first if isinstance(error, NoImageError) else error
        status, code = next(found for kind, found in STATUS.items() if isinstance(cause, kind))
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else None
        return problem(status, code, str(error), getattr(error, "problems", []), headers)

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return problem(422, "invalid", "; ".join(reasons))

    @app.exception_handler(HTTPException)
    async def answer(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def handle_unexpected_error(_: Request, error: Exception) -> JSONResponse:
        return problem(500, "internal", "Something went wrong on the server. Please try again later.")


def problem(
    status: int, code: str, message: str, files: list[FileProblem] | None = None, headers: dict | None = None
) -> JSONResponse:
    content = Problem(code=code, message=message, files=files or [])
    return JSONResponse(content.model_dump(), status, headers)


if __name__ == "__main__":
    sys.exit(main())
