"""ASGI middleware around everything: no route sees a body that is too long, too slow or too bushy.

Forms with files pass through to the routes that take them, which use forms.py. Any other body is read here first,
counted while it arrives, and handed on when it is complete.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import limits
from ..limits import BusyError, RequestError, TooLargeError
from .addresses import GRADIO, NoSuchAddressError, check_address, check_host, without_odd_range
from .budget import Budget, Share, client_of
from .forms import WrongTypeError, arriving, check_charset
from .json_shape import check_depth, check_items, count_items
from .pace import MalformedError, SlowBody, TooSlowError

FORMS = ("/v1/classify", "/v1/products", "/gradio_api/upload")
MAX_QUERY_BYTES = 2**13
METHODS_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
MAX_SECONDS = 60  # until a body is complete


# The first class that fits decides.
STATUSES: dict[type[RequestError], tuple[int, str]] = {
    NoSuchAddressError: (404, "not_found"),
    BusyError: (503, "busy"),
    WrongTypeError: (415, "wrong_type"),
    TooLargeError: (413, "too_large"),
    TooSlowError: (408, "too_slow"),
    MalformedError: (400, "malformed"),
    RequestError: (422, "invalid"),
}

in_memory = Budget(limits.MAX_MEMORY_BYTES)


class LimitBodies:
    """Answers 400, 404, 408, 413 or 503 in place of the app where a request breaks a limit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            check_head(scope, headers)
        except RequestError as error:
            await refusal(error)(scope, receive, send)
            return
        scope = without_odd_range(scope)
        if not has_body(scope, headers) or (scope["method"] == "POST" and scope["path"].endswith(FORMS)):
            await self.app(scope, receive, send)
            return
        with in_memory.holding(client_of(scope)) as share:
            try:
                body = await read_body(headers, SlowBody(receive), share, most_bytes(scope))
            except RequestError as error:
                await refusal(error)(scope, receive, send)
                return
            await self.app(scope, Replay(body, receive), send)


class Replay:
    """An ASGI `receive` that gives the whole body, and after it what the connection says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self.receive = receive

    async def __call__(self) -> Message:
        message, self.message = self.message, None
        return message or await self.receive()


def check_head(scope: Scope, headers: Headers) -> None:
    """Raises RequestError."""
    if len(scope.get("query_string", b"")) > MAX_QUERY_BYTES:
        raise TooLargeError(
            f"This address is too long; at most {MAX_QUERY_BYTES:,} bytes may follow its question mark."
        )
    check_host(headers.raw)
    check_charset(headers.get("content-type", ""))
    check_address(scope)


def has_body(scope: Scope, headers: Headers) -> bool:
    return (
        scope["method"] in METHODS_WITH_BODY
        or "transfer-encoding" in headers
        or headers.get("content-length", "0").strip("0") != ""
    )


def most_bytes(scope: Scope) -> int:
    return limits.MAX_JSON_BYTES if GRADIO in scope["path"] else limits.MAX_OTHER_BYTES


async def read_body(headers: Headers, body: SlowBody, share: Share, most: int) -> bytes:
    """Raises RequestError, at once where the request states a size over the limit."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise too_large(most)
    whole, items = bytearray(), 0
    try:
        async with asyncio.timeout(MAX_SECONDS):
            with arriving.joined(body, limits.MAX_RECEIVING):
                while chunk := await body.chunk():
                    if body.received > most:
                        raise too_large(most)
                    items += count_items(chunk)
                    check_items(items)
                    share.take(len(chunk))
                    whole += chunk
    except TimeoutError:
        raise TooSlowError from None
    check_depth(whole)
    return bytes(whole)


def too_large(most: int) -> TooLargeError:
    """Made where it is raised: one in a variable would keep its frame, and with it the body, until a collection."""
    return TooLargeError(f"At most {limits.megabytes(most)} are allowed in this request.")


def refusal(error: RequestError) -> JSONResponse:
    status, code = next(answer for kind, answer in STATUSES.items() if isinstance(error, kind))
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, BusyError) else None
    return JSONResponse({"code": code, "message": str(error), "files": [], "detail": str(error)}, status, headers)
