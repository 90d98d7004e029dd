"""The server's log: one line per event, bounded and escaped, without anything that a caller sent as a body.

The text of a validation error contains what was sent, and uvicorn and Gradio log it with a traceback: here an exception
becomes its type, a short message and the place in our code or the library's where it arose.
"""

import io
import json
import logging
import logging.config
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

FORMATS = ("text", "json")
MAX_MESSAGE = 500
MAX_REASON = 200
BURST, LINES_PER_SECOND = 200, 2
REQUESTS = "snapshelf.requests"  # the logger of one line per request
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ECHOES_INPUT = ("ValidationError", "DecodeError", "EncodeError")  # ends of the names of such errors

log = logging.getLogger("snapshelf")


def escaped(text: str, limit: int = MAX_MESSAGE) -> str:
    """In one line of at most `limit` characters, with nothing that a terminal obeys."""
    cut = text[: limit + 1]
    line = CONTROL.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def reason(error: BaseException) -> str:
    """ "ValueError: no such thing (routes.py:120)"."""
    name = type(error).__name__
    places = traceback.extract_tb(error.__traceback__)
    place = f" ({places[-1].filename.rpartition('/')[2]}:{places[-1].lineno})" if places else ""
    return f"{name}{'' if name.endswith(ECHOES_INPUT) else f': {escaped(_text(error), MAX_REASON)}'}{place}"


def _text(error: BaseException) -> str:
    """Some errors hold all that was sent, and only a short text is worth making."""
    if any(isinstance(argument, (str, bytes)) and len(argument) > 10 * MAX_REASON for argument in error.args):
        return "…"
    return str(error)


class OneLine(logging.Formatter):
    """Text or JSON lines."""

    def __init__(self, kind: str = "text") -> None:
        super().__init__()
        self.kind = kind

    def format(self, record: logging.LogRecord) -> str:
        message = escaped(record.getMessage())
        error = record.exc_info[1] if record.exc_info else None
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        if self.kind == "text":
            return f"{moment} {record.levelname} {message}{f' {reason(error)}' if error else ''}"
        content: dict[str, Any] = {"time": moment, "level": record.levelname, "logger": record.name, "message": message}
        if error:
            content["error"] = reason(error)
        return json.dumps({**content, **getattr(record, "fields", {})}, ensure_ascii=False)


class FewLines(logging.Filter):
    """Lets a burst of lines through, then so many per second, and says how many it left out: whoever sends thousands
    of wrong requests must not fill the disk. Lines about requests, which only JSON logs have, are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.left_out, self.since = float(BURST), 0, time.monotonic()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == REQUESTS:
            return True
        with self._lock:
            now = time.monotonic()
            self.left = min(BURST, self.left + LINES_PER_SECOND * (now - self.since))
            self.since = now
            if self.left < 1:
                self.left_out += 1
                return False
            self.left -= 1
            if self.left_out:
                record.msg, record.args = f"{record.getMessage()} ({self.left_out:,} lines left out before it)", None
                self.left_out = 0
        return True


class LoggedStream(io.TextIOBase):
    """In the place of standard output and error: what a library prints becomes lines of the log."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        for line in text[: 10 * MAX_MESSAGE].splitlines():
            if line.strip():
                log.info("%s", line)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()


def configuration(kind: str) -> dict[str, Any]:
    """For logging.config.dictConfig, which uvicorn calls."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": OneLine, "kind": kind}},
        "filters": {"few": {"()": FewLines}},
        "handlers": {
            "error": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["few"],
                "stream": sys.__stderr__,
            }
        },
        "root": {"handlers": ["error"], "level": "WARNING"},
        "loggers": {
            "uvicorn": {"level": "INFO", "propagate": True},  # its own configuration would keep its lines from ours
            "snapshelf": {"level": "INFO"},
            REQUESTS: {"level": "INFO" if kind == "json" else "WARNING"},
        },
    }


@contextmanager
def logged_prints(kind: str) -> Iterator[None]:
    """Gradio prints tracebacks, of errors with whole requests in them, past the log."""
    before = sys.stdout, sys.stderr, traceback.print_exc
    logging.config.dictConfig(configuration(kind))
    logging.captureWarnings(True)
    sys.stdout, sys.stderr = LoggedStream(sys.stdout), LoggedStream(sys.stderr)
    traceback.print_exc = _log_exception
    try:
        yield
    finally:
        sys.stdout, sys.stderr, traceback.print_exc = before
        logging.captureWarnings(False)


def _log_exception(*_: Any, **__: Any) -> None:
    log.error("a request failed:", exc_info=True)
