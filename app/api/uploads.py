"""Receive the files of a multipart request, with every limit enforced while they arrive, not afterwards.

    @api.post("/classify")
    def classify(files: Annotated[list[UploadFile], Depends(Uploads().receive)]): ...

At most MAX_UPLOADS requests are processed at once; any further one is rejected before a byte of it is read, or, where
the last place is taken meanwhile, after it has arrived. guard/forms.py bounds what arrives.
"""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.datastructures import UploadFile

from .. import limits
from ..guard.forms import FIELD, read_form
from ..limits import BusyError, RequestError

MAX_UPLOADS = limits.MAX_RUNNING + limits.MAX_WAITING
MAX_UPLOAD_SECONDS = 60
MAX_NAME = 200  # characters


class NoFileError(RequestError):
    """A form without a file."""


class Uploads:
    """Counts the requests that are being processed. One that still arrives takes none of these places."""

    def __init__(self) -> None:
        self.active = 0

    async def receive(self, request: Request) -> AsyncIterator[list[UploadFile]]:
        """The uploaded files, which are closed after the answer. Raises RequestError."""
        self.check_room()
        form, parser, share = await read_form(request, limits.MAX_FILE_BYTES, MAX_UPLOAD_SECONDS)
        try:
            files = [value for value in form.getlist(FIELD) if not isinstance(value, str)]
            if not files:
                raise NoFileError(f"Send at least one image as the form field {FIELD!r}: curl -F {FIELD}=@photo.jpg")
            self.check_room()
            self.active += 1
            try:
                yield files
            finally:
                self.active -= 1
        finally:
            parser.shared.close()
            share.give_back()

    def check_room(self) -> None:
        """Raises BusyError."""
        if self.active >= MAX_UPLOADS:
            raise BusyError


def file_name(file: UploadFile) -> str:
    """The name that the caller gave it, to be shown only: without folders, never used as a path."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return name[-MAX_NAME:].encode("utf-8", "replace").decode()
