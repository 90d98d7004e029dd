"""What a run tells on standard error: a progress bar, the first errors, and a summary at the end."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from app.prediction import Prediction
from inference.readers.base import NO_ENDING, Reader, count_images
from inference.writers import printable

FEW_IMAGES = 8  # no progress bar for so few images
MAX_REPORTED_ERRORS = 20
MAX_KINDS = 6
Item = TypeVar("Item")
STATUS_WORDS = {"ok": "ok", "review": "to check", "unknown": "not known to the model", "error": "failed"}
STATUS_WORDS |= {"no_products": "without products"}  # pages, with --screenshots


def with_progress(rows: Iterable[Item], readers: Sequence[Reader], to_file: bool, done: int) -> Iterable[Item]:
    """A progress bar where somebody watches and the rows themselves are not on the screen.

    rows: not begun yet, because counting goes through the readers. done: how many images came before them.
    """
    if not sys.stderr.isatty() or (not to_file and sys.stdout.isatty()):
        return rows
    total = count_images(readers)
    if total is not None and total <= FEW_IMAGES:
        return rows
    from tqdm import tqdm  # takes as long to import as an image to classify

    return tqdm(rows, total=total, initial=done, unit=" images")


def report_error(name: str, prediction: Prediction, counts: Counter[str]) -> None:
    """Show the first errors where the rows go to a file."""
    if prediction.error and counts["error"] <= MAX_REPORTED_ERRORS:
        clear_line = "\r\x1b[K" if sys.stderr.isatty() else ""  # there may be half a progress bar
        print(f"{clear_line}{printable(name)}: {prediction.error}", file=sys.stderr)


def print_summary(readers: Sequence[Reader], counts: Counter[str]) -> None:
    """What is not in the rows: files that were not looked at and why, and how many images came out how."""
    for reader in readers:
        for note in reader.notes:
            print(f"{printable(reader.argument)}: {printable(note)}", file=sys.stderr)
    if left_out := sum((reader.left_out for reader in readers), Counter[str]()):
        print(f"left out: {describe_left_out(left_out)}", file=sys.stderr)
    if counts.total() > 1:
        parts = [f"{counts[status]:,} {words}" for status, words in STATUS_WORDS.items() if counts[status]]
        print(f"{counts.total():,} images: {', '.join(parts)}", file=sys.stderr)


def describe_left_out(left_out: Counter[str]) -> str:
    """How many files were left out and why; a kind that is an ending stands for files that turned out not to be images.

    "10 files that are not images (8 .py, 2 .txt), 3 hidden".
    """
    endings = Counter({kind: number for kind, number in left_out.items() if kind.startswith(".") or kind == NO_ENDING})
    parts = [f"{number:,} {kind}" for kind, number in (left_out - endings).most_common()]
    if endings:
        kinds = [f"{number:,} {printable(kind)}" for kind, number in endings.most_common()]
        others = f" and {len(kinds) - MAX_KINDS} other kinds" if len(kinds) > MAX_KINDS else ""
        files = (
            "1 file that is not an image" if endings.total() == 1 else f"{endings.total():,} files that are not images"
        )
        parts.insert(0, f"{files} ({', '.join(kinds[:MAX_KINDS])}{others})")
    return ", ".join(parts)
