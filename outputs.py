"""Write predictions as a table, as JSON lines or as CSV, one row a picture as it comes.

    with open_output(Path("results.csv")) as output:
        write_csv(rows, output, top_k=1)

Every writer takes pairs of a name and an app.classifier.Prediction.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from app.classifier import Prediction

FORMAT_FOR_SUFFIX = {".jsonl": "jsonl", ".csv": "csv", ".txt": "table"}
CSV_COLUMNS = ("image_path", "label", "confidence", "category_path", "status", "error")
PATH_SEPARATOR = " > "
CONFIDENCE_DIGITS = 6
NAME_WIDTH = (12, 30)  # least and most columns for a picture's name: 100 less the longest path of the fashion model
ROWS_TO_FIT = 8  # the table's first column fits the names in so many rows

Row = tuple[str, Prediction]


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name only when it is complete.

    File names that are not valid UTF-8 come out as the escape \\udcXX, which JSON reads as the same name.
    """
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield sys.stdout
        sys.stdout.flush()
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", errors="backslashreplace", newline="") as output:
            yield output
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_table(rows: Iterable[Row], output: TextIO, top_k: int) -> None:
    """The picture, its category path with the confidence at each level, and with top_k > 1 the other labels below."""
    rows = iter(rows)
    first = list(islice(rows, ROWS_TO_FIT))
    longest = max((len(printable(name)) for name, _ in first), default=0)
    width = min(max(longest, NAME_WIDTH[0]), NAME_WIDTH[1])
    print(f"{'image':<{width}}  category and confidence", file=output)
    for name, prediction in chain(first, rows):
        name = printable(name)
        name = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{name:<{width}}  {describe(prediction)}", file=output)
        for rank, other in enumerate(prediction.top_k[1:top_k], start=2):
            print(f"{'':<{width}}  {rank}. {other.label} {other.confidence:.0%}", file=output)
        output.flush()


def describe(prediction: Prediction) -> str:
    if prediction.status == "error":
        return f"error: {prediction.error}"
    levels = zip(prediction.category_path, prediction.path_confidences, strict=True)
    return PATH_SEPARATOR.join(f"{category} {confidence:.0%}" for category, confidence in levels)


def write_jsonl(rows: Iterable[Row], output: TextIO, top_k: int) -> None:
    """One object a picture."""
    for name, prediction in rows:
        row = {
            "image_path": name,
            "label": prediction.label,
            "confidence": rounded(prediction.confidence),
            "category_path": prediction.category_path,
            "top_k": [
                {"label": label, "confidence": rounded(confidence)} for label, confidence in prediction.top_k[:top_k]
            ],
            "status": prediction.status,
            "error": prediction.error,
        }
        print(json.dumps(row, ensure_ascii=False), file=output, flush=True)


def write_csv(rows: Iterable[Row], output: TextIO, top_k: int) -> None:
    """One row a picture with its best label; top_k is not in the columns."""
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for name, prediction in rows:
        path = PATH_SEPARATOR.join(prediction.category_path)
        confidence = rounded(prediction.confidence)
        writer.writerow([name, prediction.label, confidence, path, prediction.status, prediction.error])
        output.flush()


WRITERS = {"table": write_table, "jsonl": write_jsonl, "csv": write_csv}


def rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, CONFIDENCE_DIGITS)


def printable(name: str) -> str:
    """A name that cannot steer the terminal or break the table."""
    return "".join(character if character.isprintable() else "?" for character in name)
