"""How much one caller may ask of the page and of the API, and the errors that say so in one line.

A limit can be changed with an environment variable of the same name, SNAPSHELF_MAX_BATCH_FILES=1000 for example.
"""

import os
import time

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
MAX_TILES = _limit("MAX_TILES", 400)  # on one screenshot, which is as many as app/tiles finds
MAX_TOP_K = 20
MAX_RUNNING = _limit("MAX_RUNNING", 2)  # requests processed at the same time
MAX_WAITING = _limit("MAX_WAITING", 16)  # further requests that may wait for those
MAX_WAIT_SECONDS = _limit("MAX_WAIT_SECONDS", 20)
MAX_JSON_BYTES = _limit("MAX_JSON_BYTES", MAX_FILE_BYTES * 4 // 3 + 2**20)  # one image as a data-URL
MAX_JSON_ITEMS = _limit("MAX_JSON_ITEMS", 50_000)  # brackets and commas: each costs up to 64 bytes once parsed
MAX_JSON_DEPTH = _limit("MAX_JSON_DEPTH", 64)
MAX_OTHER_BYTES = _limit("MAX_OTHER_BYTES", 2**16)  # the body of any other request
MAX_MEMORY_BYTES = _limit("MAX_MEMORY_BYTES", 128 * 2**20)  # of JSON that is received, parsed or queued, in all
MAX_RESULT_BYTES = _limit("MAX_RESULT_BYTES", 64 * 2**20)  # answers of the page that nobody has fetched yet, in all
MAX_RESULTS = _limit("MAX_RESULTS", 64)  # the same for one session
RESULT_SECONDS = _limit("RESULT_SECONDS", 300)  # how long they wait
MAX_RECEIVING = _limit("MAX_RECEIVING", 128)  # forms that arrive at the same time
MAX_RECEIVING_BYTES = _limit("MAX_RECEIVING_BYTES", 2**30)  # of these, on the disk
MAX_STORED_BYTES = _limit("MAX_STORED_BYTES", 2**31)  # uploads to the page that wait on the disk, in all
STORED_SECONDS = _limit("STORED_SECONDS", 3600)  # how long they wait
MIN_BYTES_PER_SECOND = _limit("MIN_BYTES_PER_SECOND", 8 * 2**10)  # of a request's body, after SLOW_START_SECONDS
SLOW_START_SECONDS = _limit("SLOW_START_SECONDS", 5)
HEADER_SECONDS = _limit("HEADER_SECONDS", 10)  # until a connection has sent the head of a request
MAX_CONNECTIONS = _limit("MAX_CONNECTIONS", 500)
MAX_TEACH_FILES = _limit("MAX_TEACH_FILES", 1000)  # photos of one teaching
MAX_TEACH_BYTES = _limit("MAX_TEACH_BYTES", 200 * 2**20)  # of these
MAX_TEACH_CATEGORIES = _limit("MAX_TEACH_CATEGORIES", 100)
MAX_TEACH_SECONDS = _limit("MAX_TEACH_SECONDS", 300)  # by the clock
MAX_TEACH_CPU_SECONDS = _limit("MAX_TEACH_CPU_SECONDS", 300)  # of each process
MAX_TEACH_MEMORY_BYTES = _limit("MAX_TEACH_MEMORY_BYTES", 4 * 2**30)  # of each process
MAX_TEACH_DISK_BYTES = _limit("MAX_TEACH_DISK_BYTES", 2**30)  # of all files of one teaching, and of any one
MAX_TEACH_WAITING = _limit("MAX_TEACH_WAITING", 3)  # behind the one that is taught
MAX_TAUGHT = _limit("MAX_TAUGHT", 8)  # models that are kept at once
TAUGHT_SECONDS = _limit("TAUGHT_SECONDS", 1800)  # how long, after their last use
LEFT_SECONDS = _limit("LEFT_SECONDS", 30)  # without a word from the visitor's browser, until teaching stops
CLIENT_SHARE = 0.5  # of each of these totals, at most, for one address
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


class BatchTime:
    """Until when a batch may go on: MAX_BATCH_SECONDS from now, or until others need its place more."""

    def __init__(self) -> None:
        self._end, self._gave_way = time.monotonic() + MAX_BATCH_SECONDS, False

    def give_way(self) -> None:
        self._gave_way = True

    def over(self) -> str:
        """Why the remaining images are left out, "" while it goes on."""
        if self._gave_way:
            return "left out: many people are using this page right now; please send this image again"
        if time.monotonic() > self._end:
            return f"left out: the time limit of a batch ({MAX_BATCH_SECONDS} s) was reached"
        return ""


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.3g} MB"
