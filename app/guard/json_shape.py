"""Whether a JSON body is small enough to be parsed: `[],[],…` of 45 MB needs 3 GB as Python objects."""

import re

from .. import limits
from ..limits import TooLargeError

STRING = re.compile(rb'"(?:[^"\\]+|\\.)*"', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")


def count_items(chunk: bytes) -> int:
    """Brackets and commas, also those in strings: fast, and a data-URL has one."""
    return chunk.count(b"[") + chunk.count(b"{") + chunk.count(b",")


def check_items(items: int) -> None:
    """Raises TooLargeError."""
    if items > limits.MAX_JSON_ITEMS:
        raise TooLargeError(f"This JSON has too many parts; at most {limits.MAX_JSON_ITEMS:,} are allowed.")


def check_depth(body: bytes | bytearray) -> None:
    """Raises TooLargeError for lists in lists in lists, which end in a RecursionError somewhere."""
    if body.count(b"[") + body.count(b"{") <= limits.MAX_JSON_DEPTH:
        return
    depth = 0
    for bracket in BRACKET.findall(STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > limits.MAX_JSON_DEPTH:
            raise TooLargeError(f"This JSON is nested too deeply; at most {limits.MAX_JSON_DEPTH} levels are allowed.")
