"""Write predictions as a table, as JSON lines, as CSV or as Parquet, one row per image as it comes.

    write_csv(rows, sys.stdout, top_k=1)
    save(rows, Path("results.parquet"), "parquet", top_k=5)  # the file appears when it is complete

Every writer takes pairs of a name and an app.prediction.Prediction, which knows its own dict and CSV cells.
"""

import csv
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from app.files import replacing
from app.prediction import CSV_COLUMNS, Prediction
from app.taxonomy import PATH_SEPARATOR
from app.titled import TITLE
from inference.journal import Row
from inference.readers.base import InputError

FORMAT_FOR_SUFFIX = {".jsonl": "jsonl", ".csv": "csv", ".xlsx": "xlsx", ".parquet": "parquet", ".txt": "table"}
NAME_COLUMN = "image_path"
NAME_WIDTH = (12, 28)  # least and most columns for an image's name: what 100 leave beside the longest error
ROWS_TO_FIT = 8  # the table's first column fits the names of the first rows
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*")
ROWS_PER_GROUP = 10_000  # of a Parquet file; one group is in memory at a time


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """File names that are not valid UTF-8 come out as the escape \\udcXX, which JSON reads as the same name."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    yield sys.stdout
    sys.stdout.flush()


def save(rows: Iterable[Row], path: Path, file_format: str, top_k: int, extra: Sequence[str] = ()) -> None:
    """extra: the columns that only some answers have, from PredictOptions.extra_columns."""
    with replacing(path) as partial:
        if file_format == "parquet":
            write_parquet(rows, partial, top_k, extra)
            return
        with open_text(partial) as output:
            WRITERS[file_format](rows, output, top_k, extra)


def open_text(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="")


def write_table(rows: Iterable[Row], output: TextIO, top_k: int, _: Sequence[str] = ()) -> None:
    """The image, its category path with the confidence at each level, and with top_k > 1 the other labels below."""
    rows = iter(rows)
    first = list(islice(rows, ROWS_TO_FIT))
    longest = max((len(printable(name)) for name, _ in first), default=0)
    width = min(max(longest, NAME_WIDTH[0]), NAME_WIDTH[1])
    print(f"{'image':<{width}}  category and confidence", file=output)
    for name, prediction in chain(first, rows):
        name = printable(name)
        name = name if len(name) <= width else "…" + name[1 - width :]
        print(f"{name:<{width}}  {describe(prediction)}", file=output)
        if prediction.attributes and prediction.status != "unknown":
            print(f"{'':<{width}}  {attributes_in_words(prediction)}", file=output)
        for rank, other in enumerate(prediction.top_k[1:top_k], start=2):
            print(f"{'':<{width}}  {rank}. {other.label} {other.confidence:.0%}", file=output)
        output.flush()


def describe(prediction: Prediction) -> str:
    """One line in words for whoever maintains the catalog."""
    if prediction.status == "error":
        return f"error: {prediction.error}"
    return in_words(prediction) + (" (from the title alone)" if prediction.answered_from == TITLE else "")


def in_words(prediction: Prediction) -> str:
    levels = zip(prediction.published_path, prediction.published_confidences, strict=True)
    path = PATH_SEPARATOR.join(f"{category} {confidence:.0%}" for category, confidence in levels)
    if prediction.status == "ok":
        return path
    best = f"{prediction.top_k[0].label} {prediction.top_k[0].confidence:.0%}"
    if prediction.status == "unknown":
        return f"not a product this model knows (nearest: {best})"
    return f"please check: {path or 'not sure'} (perhaps {best})"


def attributes_in_words(prediction: Prediction) -> str:
    return ", ".join(
        f"{name} {'' if attribute.status == 'ok' else 'perhaps '}{attribute.label} {attribute.confidence:.0%}"
        for name, attribute in prediction.attributes.items()
    )


def write_jsonl(rows: Iterable[Row], output: TextIO, top_k: int, _: Sequence[str] = ()) -> None:
    """One object per image."""
    for row in rows:
        print(json.dumps(as_object(row, top_k), ensure_ascii=False), file=output, flush=True)


def as_object(row: Row, top_k: int) -> dict[str, Any]:
    name, prediction = row
    return {NAME_COLUMN: name} | prediction.to_dict(top_k=top_k)


def as_flat_object(row: Row, top_k: int) -> dict[str, Any]:
    """With each attribute in three columns, for Parquet."""
    return as_object(row, top_k) | row[1].attribute_cells()


def write_csv(rows: Iterable[Row], output: TextIO, top_k: int, extra: Sequence[str] = ()) -> None:
    """One line per image; of the labels only the best, whatever `top_k` is."""
    writer = csv.DictWriter(output, (NAME_COLUMN, *CSV_COLUMNS, *extra), lineterminator="\n")
    writer.writeheader()
    for name, prediction in rows:
        cells = {NAME_COLUMN: name} | prediction.to_csv_row()
        writer.writerow({column: safe_cell(value) for column, value in cells.items()})
        output.flush()


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula when it opens a CSV: an apostrophe before what would be one."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def write_parquet(rows: Iterable[Row], path: Path, top_k: int, extra: Sequence[str] = ()) -> None:
    """The columns of the JSON lines; lists stay lists, and attributes are columns as in CSV."""
    check_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = answer_schema(extra)
    objects = (as_flat_object((storable(name), prediction), top_k) for name, prediction in rows)
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(objects, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def answer_schema(extra: Sequence[str] = ()) -> Any:
    """The columns of the JSON lines, then those that only some answers have, with their Arrow types."""
    import pyarrow as pa

    scored = pa.struct([("label", pa.string()), ("confidence", pa.float64())])
    types = {"confidence": pa.float64(), "unknown_score": pa.float64(), "top_k": pa.list_(scored)}
    types |= {"category_path": pa.list_(pa.string()), "path_confidences": pa.list_(pa.float64())}
    types |= {"published_path": pa.list_(pa.string()), "published_confidences": pa.list_(pa.float64())}
    types |= {"prediction_set": pa.list_(pa.string())}
    types |= {name: pa.float64() for name in extra if name.endswith("_confidence")}
    names = as_object(("", Prediction()), 1)
    return pa.schema([(name, types.get(name, pa.string())) for name in (*names, *extra)])


def check_parquet() -> None:
    """Raises InputError where pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError("Parquet files need the package pyarrow: pip install pyarrow") from None


def check_excel() -> None:
    """Raises InputError where openpyxl is missing."""
    if importlib.util.find_spec("openpyxl") is None:
        raise InputError("workbooks need the package openpyxl: pip install openpyxl")


WRITERS = {"table": write_table, "jsonl": write_jsonl, "csv": write_csv}


def printable(name: str) -> str:
    """A name that cannot steer the terminal or break the table."""
    return "".join(character if character.isprintable() else "?" for character in name)


def storable(name: str) -> str:
    """A name that is valid UTF-8, as Parquet needs."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
