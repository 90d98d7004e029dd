"""How much one caller may ask of the page and of the API, and the errors that say so in one line.

A limit can be changed with an environment variable of the same name, SNAPSHELF_MAX_BATCH_FILES=1000 for example.
"""

import os

from .errors import UserError

_invalid: list[str] = []


def _limit(name: str, default: int) -> int:
    text = os.environ.get(f"SNAPSHELF_{name}", "")
    if not text:
        return default
    if text.isdecimal() and int(text) > 0:
        return int(text)
    _invalid.append(f"SNAPSHELF_{name} is {text!r}; it must be a whole number above 0")
    return default


def check_environment() -> None:
    """Raises UserError for a variable that is not a limit. It is too late for that when this module is imported."""
    if _invalid:
        raise UserError("; ".join(_invalid))


MAX_FILE_BYTES = _limit("MAX_FILE_BYTES", 20 * 2**20)  # a phone photo has 2 to 8 MB
MAX_BATCH_FILES = _limit("MAX_BATCH_FILES", 200)
MAX_BATCH_BYTES = _limit("MAX_BATCH_BYTES", 200 * 2**20)
MAX_BATCH_SECONDS = _limit("MAX_BATCH_SECONDS", 60)
MAX_PAGE_PIXELS = _limit("MAX_PAGE_PIXELS", 12_000_000)  # larger screenshots are shrunk before products are looked for
MAX_TILES = _limit("MAX_TILES", 60)
MAX_TOP_K = 20
MAX_RUNNING = _limit("MAX_RUNNING", 2)  # requests processed at the same time
MAX_WAITING = _limit("MAX_WAITING", 16)  # further requests that may wait for those
MAX_WAIT_SECONDS = _limit("MAX_WAIT_SECONDS", 20)
RETRY_AFTER_SECONDS = 5


class RequestError(UserError):
    """A request that cannot be answered. The message is one line without paths, to be shown as it is."""


class TooLargeError(RequestError):
    """More bytes, pixels or files than allowed."""


class NotAnImageError(RequestError):
    """Another kind of file."""


class UnreadableError(RequestError):
    """A damaged image."""


class UnknownModelError(RequestError):
    """A model that is not shipped."""


class BusyError(RequestError):
    """Too many requests at the moment; worth another try after `retry_after` seconds."""

    retry_after = RETRY_AFTER_SECONDS

    def __init__(self) -> None:
        super().__init__(f"Many people are using this page right now. Please try again in {self.retry_after} seconds.")


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.3g} MB"
