"""What all data_prep commands share on the command line: the parser, options and one-line errors."""

import argparse
import errno
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from app.errors import EXIT_INTERRUPTED, OneLineParser, UserError, explain_os_error, one_line_errors
from data_prep.pipeline.folders import check_output
from data_prep.pipeline.schema import Options


def command_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m MODULE` whose help shows the description as it is written."""
    return OneLineParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawTextHelpFormatter
    )


def dataset_parser(module: str, description: str | None, default_output: str | None) -> argparse.ArgumentParser:
    """The same with the options of every command that writes a dataset."""
    parser = command_parser(module, description)
    output = Path(default_output) if default_output else None
    parser.add_argument("--output", type=Path, default=output, metavar="DIR", help="dataset to write")
    parser.add_argument("--seed", type=int, default=42, help="of the splits")
    parser.add_argument("--num_proc", type=int, default=available_cores(), metavar="N", help="processes for checking")
    parser.add_argument("--corrections", type=Path, metavar="FILE", help="CSV: id,action,column,label,reason")
    parser.add_argument("--correct_test", action="store_true", help="apply the corrections to the test split too")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def options_from(args: argparse.Namespace, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> Options:
    """The options of `dataset_parser` and the command line that gave them."""
    check_num_proc(args.num_proc)
    given = {field.name: getattr(args, field.name) for field in fields(Options) if field.name != "command"}
    return Options(**given, command=command_line(parser, argv))


@contextmanager
def dataset_command(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> Iterator[tuple[argparse.Namespace, Options]]:
    """The command line of `dataset_parser`, once its output may be written; a user's mistake ends with one line."""
    args = parser.parse_args(argv)
    with clear_errors(parser):
        options = options_from(args, parser, argv)
        check_output(options.output, options.overwrite)
        yield args, options


def command_line(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> str:
    """The command as a shell takes it."""
    return shlex.join([*parser.prog.split(), *(sys.argv[1:] if argv is None else argv)])


def check_num_proc(num_proc: int) -> None:
    if num_proc < 1:
        raise UserError(f"--num_proc {num_proc} must be at least 1")


@contextmanager
def clear_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """`one_line_errors` for a command that keeps its finished work on disk and says so."""
    with one_line_errors(parser):
        try:
            yield
        except sqlite3.Error as error:
            cure = "is the disk full? Free some space and run the same command again"
            raise OSError(f"the cache of finished work failed ({error}); {cure}") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(f"{explain_os_error(error)} (finished work is kept)") from error
        except KeyboardInterrupt:
            parser.exit(EXIT_INTERRUPTED, f"\n{parser.prog}: stopped; the same command goes on where it was\n")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
