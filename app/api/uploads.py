"""Receive the files of a multipart request, with every limit enforced while they arrive, not afterwards.

    @api.post("/classify")
    def classify(files: Annotated[list[UploadFile], Depends(Uploads(service.turns).receive)]): ...

Where there is no place for a request (app/turns.py), it is rejected before a byte of it is read, or, where the last
place is taken meanwhile, after it has arrived. guard/forms.py bounds what arrives.
"""

from collections.abc import AsyncIterator, Sequence

from fastapi import Request
from starlette.datastructures import UploadFile

from .. import limits
from ..decode_cost import expected_seconds_of_bytes
from ..guard.forms import FIELD, read_form
from ..limits import RequestError
from ..turns import Turns
from .titles import read_titles

MAX_UPLOAD_SECONDS = 60
MAX_NAME = 200  # characters


class NoFileError(RequestError):
    """A form without a file."""


class Uploads:
    """turns: those of the service. A request that still arrives takes no place there. with_titles: whether titles may
    stand beside the files, or alone; they are left in `request.state.titles`."""

    def __init__(self, turns: Turns, with_titles: bool = False) -> None:
        self.turns = turns
        self.with_titles = with_titles

    async def receive(self, request: Request) -> AsyncIterator[list[UploadFile]]:
        """The uploaded files, which are closed after the answer. Raises RequestError."""
        announced = request.headers.get("content-length", "")
        self.turns.check_room(expected_seconds_of_bytes(int(announced[:12]) if announced.isdecimal() else 0))
        form, parser, share = await read_form(request, limits.MAX_FILE_BYTES, MAX_UPLOAD_SECONDS)
        try:
            files = [value for value in form.getlist(FIELD) if not isinstance(value, str)]
            request.state.titles = read_titles(form) if self.with_titles else []
            if not files and not request.state.titles:
                raise NoFileError(f"Send at least one image as the form field {FIELD!r}: curl -F {FIELD}=@photo.jpg")
            self.turns.check_room(expected_of(files))
            yield files
        finally:
            parser.shared.close()
            share.give_back()


def expected_of(files: Sequence[UploadFile]) -> float:
    """Seconds of work, by their sizes."""
    return expected_seconds_of_bytes(sum(file.size or 0 for file in files))


def file_name(file: UploadFile) -> str:
    """The name that the caller gave it, to be shown only: without folders, never used as a path."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return name[-MAX_NAME:].encode("utf-8", "replace").decode()
