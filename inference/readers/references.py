"""What a cell of a table or a line of a list means: a path, an image in base64, or an address.

A table may come from somebody else, so an address in it is fetched only where the user says so, by the client of
data_prep.scraping, which refuses everything that is not public.
"""

import base64
import binascii
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from app.images import HEAD_BYTES, MAX_BYTES, ImageError, check_num_bytes, looks_like_image
from data_prep.pipeline.file_names import existing_name
from inference.readers.base import InputError, Lookup, NamedImage

if TYPE_CHECKING:
    from data_prep.scraping.fetch import Fetcher

DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=-]+)*;base64,", re.IGNORECASE)
MIN_BASE64 = 64  # shorter ones are names
HEAD_CHARACTERS = 88  # 66 bytes
URL_ALPHABET = str.maketrans("-_", "+/")
FETCHED = ("http://", "https://")
SECONDS_PER_REQUEST = 0.2  # to one host, unless its robots.txt asks for more


def find_image(text: str, folders: Sequence[str], lookup: Lookup, row: str, container: str) -> NamedImage:
    """The image that a text means, in the first of the folders that has it.

    row: the name of an image that has no other. container: "table" or "list", for messages.
    """
    if not text:
        return row, ImageError("no path in this row")
    if (embedded := embedded_image(text)) is not None:
        return row, embedded
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


def embedded_image(text: str) -> bytes | ImageError | None:
    """The bytes of a data URL or of base64 that starts like an image; None for any other text."""
    url = DATA_URL.match(text[:200])
    if not url and (len(text) < MIN_BASE64 or "." in text[:MIN_BASE64]):
        return None
    if len(text) > MAX_BYTES // 3 * 4:
        return too_large(len(text) * 3 // 4)
    packed = "".join(text[url.end() if url else 0 :].split()).translate(URL_ALPHABET)
    head = decoded(packed[:HEAD_CHARACTERS])
    if not url and not (head and looks_like_image(head[:HEAD_BYTES])):
        return None
    data = decoded(packed)
    return data or ImageError("damaged base64 in this row")


def too_large(num_bytes: int) -> ImageError:
    try:
        check_num_bytes(num_bytes)
    except ImageError as error:
        return error
    return ImageError("too large", "too_large")


def decoded(packed: str) -> bytes:
    """Empty where it is not base64."""
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


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
