"""Receive a multipart form with every limit enforced while it arrives.

    form = await read_form(request, seconds=60)       # limits.py; files in form.getlist("files")

However many files a form has, it needs one temporary file, which has no name and is gone with the request. A file's
name may stand in `filename=`, in `filename*=` (RFC 5987) or encoded as in mail (RFC 2047): clients send all three.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from math import inf
from tempfile import SpooledTemporaryFile
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .. import limits
from ..limits import RequestError, TooLargeError
from .budget import Budget, Share, client_of
from .pace import Crowd, MalformedError, SlowBody, TooSlowError

FIELD = "files"
MAX_OTHER_FIELDS = 10
MAX_FIELD_BYTES = 2**16
MAX_PART_OVERHEAD = 2**10  # bytes that a file's own boundary and headers may add
IN_MEMORY = 2**19  # a larger form waits on the disk

arriving = Crowd()
on_disk = Budget(limits.MAX_RECEIVING_BYTES)


class WrongTypeError(RequestError):
    """A request that is not a form with files."""


class Slice:
    """One file of a form inside the form's temporary file; the parts are written one after the other."""

    def __init__(self, shared: "SpooledTemporaryFile[bytes]") -> None:
        self.shared = shared
        self.start, self.size, self.position = 0, 0, 0
        self._max_size = IN_MEMORY

    @property
    def _rolled(self) -> bool:  # UploadFile reads it to decide whether a write needs a thread
        return bool(getattr(self.shared, "_rolled", True))

    def write(self, data: bytes) -> int:
        if not self.size:  # the files before this one are complete only now
            self.start = self.shared.seek(0, 2)
        self.shared.seek(self.start + self.size)
        self.size += len(data)
        return self.shared.write(data)

    def read(self, size: int = -1) -> bytes:
        left = self.size - self.position
        self.shared.seek(self.start + self.position)
        data = self.shared.read(left if size < 0 else min(size, left))
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset
        return offset

    def tell(self) -> int:
        return self.start + max(self.position, self.size)  # for UploadFile, which asks before it writes

    def close(self) -> None:
        """The shared file is closed with the form."""


class LimitedParser(MultiPartParser):
    """Starlette's parser, which stops at the first file that is too large or one too many."""

    def __init__(self, *arguments: Any, max_file_bytes: int, **options: Any) -> None:
        super().__init__(*arguments, max_part_size=MAX_FIELD_BYTES, max_fields=MAX_OTHER_FIELDS, **options)
        self.max_file_bytes = max_file_bytes
        self.shared: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._files_to_close_on_error.append(self.shared)
        self.part_bytes = 0
        self.complete = False

    def on_end(self) -> None:
        self.complete = True

    def on_headers_finished(self) -> None:
        disposition = (self._current_part.content_disposition or b"").decode("utf-8", "surrogateescape")
        name, file_name = field_and_file_name(disposition)
        if file_name is None:
            super().on_headers_finished()
            return
        self._current_files += 1
        if self._current_files > limits.MAX_BATCH_FILES:
            raise TooLargeError(f"At most {limits.MAX_BATCH_FILES} files are allowed in one request.")
        self._current_part.field_name = name
        self._current_part.file = UploadFile(
            file=Slice(self.shared),  # type: ignore[arg-type]
            size=0,
            filename=file_name,
            headers=Headers(raw=self._current_part.item_headers),
        )

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.part_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.part_bytes += end - start
        if self.part_bytes > self.max_file_bytes:
            raise TooLargeError(f"This file is larger than {limits.megabytes(self.max_file_bytes)}, the maximum.")
        super().on_part_data(data, start, end)


def field_and_file_name(disposition: str) -> tuple[str, str | None]:
    """The name of a form's field and that of its file, None for a field without a file. Raises MultiPartException."""
    message = Message()
    message["Content-Disposition"] = disposition.replace("\r", " ").replace("\n", " ")
    name = message.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise MultiPartException('The Content-Disposition header field "name" must be provided.')
    file_name = message.get_filename()
    if file_name is None:
        return name, None
    if file_name.startswith("=?"):
        with suppress(HeaderParseError, LookupError, ValueError):  # then it is a name that looks odd
            file_name = str(make_header(decode_header(file_name)))
    return name, file_name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def read_form(request: Request, max_file_bytes: int, seconds: float) -> tuple[FormData, LimitedParser, Share]:
    """The form; close its `shared` file and give the share back in the end. Raises RequestError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise WrongTypeError(f"Send images as multipart/form-data: curl -F {FIELD}=@photo.jpg")
    check_charset(request.headers.get("content-type", ""))
    share = Share(on_disk, client_of(request.scope))
    body = SlowBody(request.receive)
    stream = limited_stream(request, body, share)
    parser = LimitedParser(request.headers, stream, max_file_bytes=max_file_bytes, max_files=inf)
    try:
        with arriving.joined(body, limits.MAX_RECEIVING):
            async with asyncio.timeout(seconds), aclosing(stream):
                form = await parser.parse()
        if not parser.complete:
            raise MalformedError("The form cannot be read: its end is missing.")
        return form, parser, share
    except BaseException as error:
        parser.shared.close()
        share.give_back()
        if isinstance(error, TimeoutError):
            raise TooSlowError from None
        if isinstance(error, MultiPartException):
            raise MalformedError(f"The form cannot be read: {error.message}") from None
        raise


async def limited_stream(request: Request, body: SlowBody, share: Share) -> AsyncGenerator[bytes, None]:
    """The body, up to the limit. Raises TooLargeError, at once where the request states its size."""
    most = limits.MAX_BATCH_BYTES + MAX_PART_OVERHEAD * limits.MAX_BATCH_FILES
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise too_large()
    while chunk := await body.chunk():
        if body.received > most:
            raise too_large()
        share.take(len(chunk))
        yield chunk


def too_large() -> TooLargeError:
    return TooLargeError(f"At most {limits.megabytes(limits.MAX_BATCH_BYTES)} are allowed in one request.")


def check_charset(content_type: str) -> None:
    """Raises MalformedError for an encoding that does not exist."""
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_param("charset")
    try:
        "a".encode(charset if isinstance(charset, str) else "utf-8")  # Python has a codec called "undefined"
    except (LookupError, ValueError):
        raise MalformedError("The charset of this request's Content-Type does not exist; leave it out.") from None
