"""Turn the arguments of --image_path into readers.

    for reader in parse_readers(["shirt.jpg", "photos/", "@more.txt", "shop.zip"]):
        for name, source in reader: ...

To add a reader: a subclass of base.Reader in a file of its own, imported below or in files.container_reader only where
an argument needs it, because each import delays the first answer.
"""

import os
from collections.abc import Sequence

from inference.readers.base import InputError, Lookup, Reader
from inference.readers.files import local_reader
from inference.readers.path_list import STANDARD_INPUT, ListFileReader, StandardInputReader, is_address


def parse_readers(arguments: Sequence[str], lookup: Lookup | None = None) -> list[Reader]:
    """A reader per argument, checked. Raises InputError."""
    lookup = lookup or Lookup()
    if arguments.count(STANDARD_INPUT) > 1:
        raise InputError("standard input, -, can be read only once")
    readers = [parse_reader(argument, lookup) for argument in arguments]
    for reader in readers:
        reader.check()
    return readers


def parse_reader(argument: str, lookup: Lookup) -> Reader:
    if argument == STANDARD_INPUT:
        return StandardInputReader(argument, lookup)
    if argument.startswith("@") and not os.path.lexists(argument):
        return ListFileReader(argument, lookup)
    if is_address(argument):
        from inference.readers.object_store import StoreReader

        return StoreReader(argument, lookup)
    return local_reader(argument, lookup)
