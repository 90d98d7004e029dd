"""Every error of the REST API in one shape, without a stack trace or a path of this machine."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..guard import bodies
from ..limits import BusyError, NotAnImageError, RequestError, UnreadableError
from .schemas import FileProblem, Problem
from .uploads import NoFileError

# The first class that fits decides.
STATUSES: dict[type[RequestError], tuple[int, str]] = {
    NotAnImageError: (415, "not_an_image"),
    UnreadableError: (422, "unreadable_image"),
    NoFileError: (422, "no_file"),
    **bodies.STATUSES,
}
EXPLANATIONS = {
    400: "The form is damaged or incomplete",
    404: "There is no such address",
    405: "This address takes another method",
    408: "The request arrived too slowly",
    413: "Too many bytes, pixels or files",
    415: "Not a form, or no image in it: what counts is a file's content, not its name",
    422: "No image can be read (damaged), or a parameter is wrong",
    503: "Too busy; Retry-After says when to come back",
}


class NoImageError(RequestError):
    """None of a request's images can be used. cause: the first one's error, which decides on the status."""

    def __init__(self, cause: RequestError, problems: Sequence[FileProblem]) -> None:
        self.cause, self.problems = cause, problems
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{cause}{others}")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": EXPLANATIONS[status]} for status in statuses}


def add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def handle_request_error(_: Request, error: RequestError) -> JSONResponse:
        cause, files = (error.cause, error.problems) if isinstance(error, NoImageError) else (error, ())
        status, code = next(answer for kind, answer in STATUSES.items() if isinstance(cause, kind))
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else None
        return problem(status, code, str(error), files, headers)

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [f"{'.'.join(map(str, detail['loc'][1:]))}: {detail['msg']}" for detail in error.errors()]
        return problem(422, "invalid", "; ".join(reasons))

    @app.exception_handler(HTTPException)
    async def handle_http_error(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def handle_unexpected_error(_: Request, error: Exception) -> JSONResponse:
        return problem(500, "internal", "Something went wrong on the server. Please try again later.")


def problem(
    status: int,
    code: str,
    message: str,
    files: Sequence[FileProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse(Problem(code=code, message=message, files=list(files)).model_dump(), status, headers)
