"""What the text in a table or in a line of a list means that holds no image itself: a path or an address.

A table may come from somebody else, so an address in it is fetched only where the user says so, by the client of
data_prep.scraping, which refuses everything that is not public.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from app.images import ImageError
from data_prep.pipeline.file_names import existing_name
from inference.readers.base import InputError, Lookup, NamedPlace

if TYPE_CHECKING:
    from data_prep.scraping.fetch import Fetcher

FETCHED = ("http://", "https://")
SECONDS_PER_REQUEST = 0.2  # to one host, unless its robots.txt asks for more


def find_image(text: str, folders: Sequence[str], lookup: Lookup, row: str, container: str) -> NamedPlace:
    """The image that a text means, in the first of the folders that has it.

    row: the name of an image that has no other. container: "table" or "list", for messages.
    """
    if not text:
        return row, ImageError("no path in this row")
    if "://" in text and not os.path.lexists(text):
        if not lookup.fetch_urls:
            cure = "add --fetch_urls, or download the images first"
            return text, ImageError(f"an address in a {container} is not fetched: {cure}")
        if not text.lower().startswith(FETCHED):
            return text, ImageError("only http:// and https:// are fetched out of a table or a list")
        return text, WebImage(text)
    if not folders:
        return text, ImageError(
            f"a path in a {container} on a network cannot be followed: put the bytes in, or give --image_root"
        )
    for folder in folders:
        path = os.path.join(folder, existing_name(folder, text))
        if "\0" not in path and os.path.lexists(path):
            return path, path
    path = os.path.join(folders[0], text)
    return path, path


@dataclass(frozen=True)
class WebImage:
    """Called, it fetches the bytes at a public http(s) address. Raises ImageError."""

    address: str

    def __call__(self) -> bytes:
        from data_prep.scraping.public_network import FetchError

        try:
            with FETCHING:  # the client asks for one address at a time
                body: bytes = fetcher().get(self.address).body
        except FetchError as error:
            raise ImageError(f"cannot be fetched ({error.reason})") from None
        return body


FETCHING = threading.Lock()


@lru_cache(maxsize=1)
def fetcher() -> "Fetcher":
    from data_prep.scraping.fetch import Fetcher, Limits

    return Fetcher(Limits(delay_s=SECONDS_PER_REQUEST))


def check_fetching() -> None:
    """Raises InputError where the packages are missing."""
    try:
        import data_prep.scraping.fetch  # noqa: F401
    except ImportError as error:
        raise InputError(f"--fetch_urls needs packages ({error}): pip install httpx httpcore protego") from None
