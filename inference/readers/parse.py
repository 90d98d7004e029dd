"""Turn the arguments of --image_path into readers.

    for reader in parse_readers(["shirt.jpg", "photos/", "@more.txt", "shop.zip"]):
        for name, source in reader: ...

To add a reader: a subclass of base.Reader in a file of its own, imported below or in files.container_reader only where
an argument needs it, because each import delays the first answer.
"""

import os
from collections.abc import Sequence

from inference.readers.base import InputError, Reader
from inference.readers.files import local_reader
from inference.readers.path_list import STANDARD_INPUT, ListFileReader, StandardInputReader, is_address


def parse_readers(arguments: Sequence[str], image_column: str | None = None) -> list[Reader]:
    """A reader per argument, checked. Raises InputError.

    image_column: the column of a table that has paths or bytes; None for the first with a usual name.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise InputError("standard input, -, can be read only once")
    readers = [parse_reader(argument, image_column) for argument in arguments]
    for reader in readers:
        reader.check()
    return readers


def parse_reader(argument: str, image_column: str | None) -> Reader:
    if argument == STANDARD_INPUT:
        return StandardInputReader(argument, image_column)
    if argument.startswith("@") and not os.path.lexists(argument):
        return ListFileReader(argument, image_column)
    if is_address(argument):
        from inference.readers.object_store import StoreReader

        return StoreReader(argument, image_column)
    return local_reader(argument, image_column)
