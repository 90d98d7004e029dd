"""Receive the files of a multipart request, with every limit enforced while they arrive, not afterwards.

    @api.post("/classify")
    def classify(files: Annotated[list[UploadFile], Depends(Uploads().receive)]): ...

At most MAX_UPLOADS requests are received or processed at once; any further one is rejected before a byte of it is read.
A file above a megabyte waits on disk in a nameless temporary file, which is gone with the request.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from math import inf

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from .. import limits
from ..limits import BusyError, RequestError, TooLargeError

FIELD = "files"
MAX_UPLOADS = limits.MAX_RUNNING + limits.MAX_WAITING
MAX_UPLOAD_SECONDS = 60
MAX_OTHER_FIELDS = 10
MAX_PART_OVERHEAD = 2**10  # bytes that a file's own boundary and headers may add
MAX_NAME = 200  # characters


class WrongTypeError(RequestError):
    """A request that is not a form with files."""


class NoFileError(RequestError):
    """A form without a file."""


class MalformedError(RequestError):
    """A form that is damaged or incomplete."""


class TooSlowError(RequestError):
    """A request that did not arrive in time."""


class Uploads:
    """Counts the requests that are being received or processed."""

    def __init__(self) -> None:
        self.active = 0

    async def receive(self, request: Request) -> AsyncIterator[list[UploadFile]]:
        """The uploaded files, which are closed after the answer. Raises RequestError."""
        if self.active >= MAX_UPLOADS:
            raise BusyError
        self.active += 1
        try:
            form = await read_form(request)
            try:
                files = [value for value in form.getlist(FIELD) if not isinstance(value, str)]
                if not files:
                    raise NoFileError(
                        f"Send at least one image as the form field {FIELD!r}: curl -F {FIELD}=@photo.jpg"
                    )
                yield files
            finally:
                await form.close()
        finally:
            self.active -= 1


class LimitedParser(MultiPartParser):
    """Starlette's parser, which stops at the first file that is too large or one too many."""

    part_bytes = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_files > limits.MAX_BATCH_FILES:
            raise TooLargeError(f"At most {limits.MAX_BATCH_FILES} files are allowed in one request.")

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.part_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.part_bytes += end - start
        if self.part_bytes > limits.MAX_FILE_BYTES:
            raise TooLargeError(f"This file is larger than {limits.megabytes(limits.MAX_FILE_BYTES)}, the maximum.")
        super().on_part_data(data, start, end)


async def read_form(request: Request) -> FormData:
    """Raises RequestError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise WrongTypeError(f"Send images as multipart/form-data: curl -F {FIELD}=@photo.jpg")
    try:
        async with asyncio.timeout(MAX_UPLOAD_SECONDS), aclosing(limited_stream(request)) as stream:
            return await LimitedParser(request.headers, stream, max_files=inf, max_fields=MAX_OTHER_FIELDS).parse()
    except TimeoutError:
        raise TooSlowError(f"The request did not arrive within {MAX_UPLOAD_SECONDS} seconds.") from None
    except ClientDisconnect:
        raise MalformedError("The request was cut short.") from None
    except MultiPartException as error:
        raise MalformedError(f"The form cannot be read: {error.message}") from None


async def limited_stream(request: Request) -> AsyncGenerator[bytes, None]:
    """The body, up to the limit. Raises TooLargeError, at once where the request states its size."""
    most = limits.MAX_BATCH_BYTES + MAX_PART_OVERHEAD * limits.MAX_BATCH_FILES
    announced = request.headers.get("content-length", "")
    received = int(announced) if announced.isdecimal() else 0
    too_large = TooLargeError(f"At most {limits.megabytes(limits.MAX_BATCH_BYTES)} are allowed in one request.")
    if received > most:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise too_large
        yield chunk


def file_name(file: UploadFile) -> str:
    """The name that the caller gave it, to be shown only: without folders, never used as a path."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return name[-MAX_NAME:].encode("utf-8", "replace").decode()
