"""What can be read only once, in the order of its container, copied to temporary files beside the output.

Images of a compressed tar and in the cells of a table go into one file, and any process may read them again; tables in
an archive become files of their own.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from app.errors import UserError
from data_prep.pipeline.tar_archive import FilePart


class Copies:
    """Use it with `with`: the files are there until the block ends, and are made when they are needed."""

    def __init__(self, output: Path) -> None:
        """output: beside which they lie, on the disk that must hold as much anyway."""
        self._parent = output.parent
        self._folder: tempfile.TemporaryDirectory | None = None
        self._images: BinaryIO | None = None

    def __enter__(self) -> "Copies":
        return self

    def __exit__(self, *_: object) -> None:
        if self._images is not None:
            self._images.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, pieces: Iterable[bytes], origin: str) -> FilePart:
        """origin: where the bytes come from, in words that change when they do."""
        if self._images is None:
            self._images = open(os.path.join(self._place(), "images"), "wb")  # noqa: SIM115  closed at the end
        offset = self._images.tell()
        size = sum(map(self._images.write, pieces))
        self._images.flush()
        return FilePart(self._images.name, offset, size, origin)

    def table(self, name: str, pieces: Iterable[bytes]) -> Path:
        """A file of this name; the next one of the same name replaces it."""
        path = Path(self._place(), os.path.basename(name) or "table")
        with open(path, "wb") as file:
            file.writelines(pieces)
        return path

    def shown(self, error: UserError) -> UserError:
        """The same error with the names that tables have in their archive."""
        return UserError(str(error).replace(f"{self._folder.name}{os.sep}", "")) if self._folder else error

    def _place(self) -> str:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(dir=self._parent, prefix=".copies-", suffix=".partial")
        return self._folder.name
