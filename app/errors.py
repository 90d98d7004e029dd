"""What every command, the page and the API do with a mistake that the user can mend: one line, and no traceback."""

import argparse
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from . import __version__

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class UserError(ValueError):
    """Something that the user can mend. The message is one line: what is wrong, what is allowed, what to do."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a usage error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message}\n")


@contextmanager
def one_line_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End the command with one line on standard error: exit code 2 for a UserError, 1 for the disk, 130 for Ctrl-C."""
    try:
        yield
    except UserError as error:
        parser.exit(EXIT_USAGE, f"{parser.prog}: error: {error}\n")
    except OSError as error:
        parser.exit(EXIT_FAILED, f"{parser.prog}: error: {explain_os_error(error)}\n")
    except KeyboardInterrupt:
        parser.exit(EXIT_INTERRUPTED, f"\n{parser.prog}: stopped\n")


def explain_os_error(error: OSError) -> str:
    """What happened, to which file, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: free some space and run the same command again"
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def one_line(error: BaseException, limit: int = 300) -> str:
    """The message of a library's exception in one line of at most `limit` characters; its type where it has none."""
    return (" ".join(str(error).split()) or type(error).__name__)[:limit]


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"Snapshelf {__version__}")
