"""What all data_prep commands share on the command line: options, one-line errors and the summary."""

import argparse
import errno
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_prep.pipeline.card import CARD_NAME
from data_prep.pipeline.schema import Options, Report
from data_prep.pipeline.storage import (
    REJECTED_NAME,
)

REMARKS_SHOWN = 6  # on the screen; the card has them all


def add_common_arguments(parser: argparse.ArgumentParser, default_output: str) -> None:
    """The options that every data_prep command has."""
    parser.add_argument("--output", type=Path, default=Path(default_output), metavar="DIR", help="dataset to write")
    parser.add_argument("--seed", type=int, default=42, help="of the splits")
    parser.add_argument("--num_proc", type=int, default=available_cores(), metavar="N", help="processes for checking")
    parser.add_argument("--corrections", type=Path, metavar="FILE", help="CSV: id,action,column,label,reason")
    parser.add_argument("--correct_test", action="store_true", help="apply the corrections to the test split too")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def options_from(args: argparse.Namespace, module: str, argv: Sequence[str] | None) -> Options:
    """Options of a parsed command line; `module` is the name after `python -m`."""
    if args.num_proc < 1:
        raise ValueError(f"--num_proc {args.num_proc} must be at least 1")
    command = shlex.join(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])
    return Options(
        output=args.output,
        seed=args.seed,
        num_proc=args.num_proc,
        corrections=args.corrections,
        correct_test=args.correct_test,
        overwrite=args.overwrite,
        command=command,
    )


@contextmanager
def clear_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Turn a user's mistake, a full disk or Ctrl-C into one line and an exit code (2, 1, 130)."""
    try:
        yield
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except (OSError, sqlite3.Error) as error:
        parser.exit(1, f"{parser.prog}: error: {explain_failure(error)}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\n{parser.prog}: stopped; the same command goes on where it was\n")


def explain_failure(error: OSError | sqlite3.Error) -> str:
    """What happened and what to do."""
    if isinstance(error, sqlite3.Error):
        return f"the cache of finished checks failed ({error}); is the disk full? Free some space and run again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same command again (finished checks are kept)"
    return f"{error.strerror or error}{': ' + str(error.filename) if error.filename else ''}"


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_summary(report: Report) -> None:
    """A few lines for the person who ran the command."""
    total = sum(report.counts.values())
    print(f"{report.output}: {total:,} images, fingerprint {report.fingerprint}")
    print("  " + ", ".join(f"{split} {count:,} ({count / total:.1%})" for split, count in report.counts.items()))
    print("  classes: " + ", ".join(f"{column} {count}" for column, count in report.classes.items()))
    grouped = sum(size * number for size, number in report.groups.items() if size > 1)
    print(
        f"  {sum(report.groups.values()):,} duplicate groups; {grouped:,} images share theirs, "
        f"the largest has {max(report.groups)}"
    )
    if report.leaks:
        print(f"  {report.leaks:,} images have duplicates in a stricter given split")
    if report.corrections:
        print(f"  corrections: {report.corrections}")
    print(f"  left out: {sum(report.rejected.values()):,} (listed in {report.output / REJECTED_NAME})")
    for reason, count in report.rejected.items():
        print(f"    {count:6,}  {reason}")
    for remark in report.remarks[:REMARKS_SHOWN]:
        print(f"  {remark}")
    if len(report.remarks) > REMARKS_SHOWN:
        print(f"  {len(report.remarks) - REMARKS_SHOWN} more remarks in {report.output / CARD_NAME}")
