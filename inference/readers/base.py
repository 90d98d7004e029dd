"""What all readers have in common: each stands for one argument of predict.py and yields its images."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from app.errors import UserError
from app.images import ImageError, looks_like_image
from app.titled import TitledImage
from data_prep.pipeline.file_names import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from inference.readers.table import TableReader

MAX_SUFFIX_LENGTH = 20  # of a kind in the summary
NO_ENDING = "without ending"  # the kind of a file whose name has none

ImagePlace = str | bytes | Callable[[], bytes] | ImageError
Source = ImagePlace | TitledImage
NamedPlace = tuple[str, ImagePlace]
NamedImage = tuple[str, Source]  # the name to show, and the image or why there is none
OpenFile = Callable[[str], BinaryIO]  # opens what is not a path of this machine


class InputError(UserError):
    """An argument that cannot be used."""


@dataclass(frozen=True)
class Lookup:
    """How tables and lists lead to images.

    image_column: of a table; None for the first with a usual name. encoding: of its text, found when empty.
    image_root: the folder of the paths; None for the table's own. fetch_urls: whether addresses may be fetched.
    title_column: of a table, with the products' titles; None to look at the images alone.
    """

    image_column: str | None = None
    encoding: str = ""
    image_root: str | None = None
    fetch_urls: bool = False
    title_column: str | None = None


class Reader(ABC):
    """The images behind one argument, in a fixed order, found as they are asked for. Iterate for (name, source).

    No image is opened here, and the bytes in an archive are fetched by whoever reads them, so millions of images need
    no memory. A file that is not an image is left to the classifier, which makes it a row with an error.

    argument: as the user gave it. left_out: the files that the latest pass did not take, counted by kind. notes: what
    the user should know about it, such as an encoding that was guessed.
    """

    empty_message: str | None = None  # the error in the one row of an argument without images; None for no row
    is_repeatable = True  # whether a second pass yields the same images
    is_remote = False

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[NamedImage]:
        self.left_out.clear()
        image = None
        for image in self.find():
            yield image
        if image is None and self.empty_message:
            yield self.argument, ImageError(self.empty_message)

    @abstractmethod
    def find(self) -> Iterator[NamedImage]:
        """One pass over the images, which counts in `left_out`."""

    def check(self) -> None:  # noqa: B027  most readers have nothing to check
        """Raises InputError for what is known to be unusable before the first image is read."""

    def as_table(self) -> "TableReader | None":
        """The reader of a table, whose columns can be written beside the answers; None for any other."""
        return None

    def count(self) -> int | None:
        """The number of images; None where counting would mean reading everything."""
        return sum(1 for _ in self)

    def takes(self, name: str, read_head: Callable[[], bytes]) -> bool:
        """Whether a file's name ends like an image's or its content starts like one; if not, `left_out` counts it.

        read_head: called where the name says nothing; the first HEAD_BYTES of the file.
        """
        suffix = os.path.splitext(name)[1].lower()
        if suffix in IMAGE_SUFFIXES:
            return True
        try:
            if looks_like_image(read_head()):
                return True
        except (OSError, ImageError):
            self.left_out["unreadable"] += 1
            return False
        self.left_out[suffix[:MAX_SUFFIX_LENGTH] or NO_ENDING] += 1
        return False


def count_images(readers: Iterable[Reader]) -> int | None:
    """None where one of the readers cannot tell."""
    total = 0
    for reader in readers:
        if (number := reader.count()) is None:
            return None
        total += number
    return total
