"""Images that a table names: .csv with a column of paths, .parquet with a column of paths or of bytes.

    for name, source in read_images("catalogue.csv", column=None):

Paths are relative to the table. What a table names is never fetched from a network: a row with the address of a web
page is a row with an error. A column of bytes may be binary or Hugging Face's {"bytes", "path"}.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from app.images import ImageError
from data_prep.pipeline.tables import find_encoding, read_header, read_table
from inference.readers.find import Input, InputError

USUAL_COLUMNS = ("image_path", "image", "path", "file", "file_name", "filename", "image_file", "picture")
SEPARATORS = ",;\t|"
ROWS_AT_ONCE = 16  # images of a parquet file in memory at the same time, beside the batches
READ_BYTES = 2**20


def check_table(path: str, column: str | None, file: BinaryIO | None = None) -> str:
    """The column with the images. Raises InputError where the table cannot be read or has no such column."""
    if file is None and not os.path.isfile(path):
        raise InputError(f"there is no table {path!r}")
    try:
        names = parquet_columns(path, file) if is_parquet(path) else csv_columns(Path(path))
    except (ValueError, OSError) as error:  # pyarrow's errors are both
        raise InputError(f"the table {path!r} cannot be read: {' '.join(str(error).split())}") from None
    found = [column] if column else [name for name in USUAL_COLUMNS if name in names]
    if not found or found[0] not in names:
        wanted = f"no column {column!r}" if column else "no column with a usual name, such as image or path"
        raise InputError(f"the table {path!r} has {wanted}: give --image_column, one of {', '.join(names)[:300]}")
    return found[0]


def read_images(path: str, column: str | None, file: BinaryIO | None = None) -> Iterator[Input]:
    """One image a row, in the order of the table. Raises InputError as check_table."""
    column = check_table(path, column, file)
    if is_parquet(path):
        yield from read_parquet(path, column, file)
        return
    for line in read_table(Path(path), [column]):
        if line.problem:
            yield f"{path}#{line.number}", ImageError(line.problem)
        else:
            yield image_at(path, line.cells[column], f"{path}#{line.number}")


def read_parquet(path: str, column: str, file: BinaryIO | None) -> Iterator[Input]:
    number = 0
    for batch in open_parquet(path, file).iter_batches(ROWS_AT_ONCE, columns=[column]):
        for value in batch.column(0):
            number += 1
            yield from_cell(path, value.as_py(), f"{path}#{number}")


def from_cell(table: str, value: object, row: str) -> Input:
    """row: the name of an image that has no other."""
    if isinstance(value, dict):
        name, value = value.get("path"), value.get("bytes") or value.get("path")
        row = name if isinstance(name, str) and name else row
    if isinstance(value, bytes):
        return row, value
    if value is None or isinstance(value, str):
        return image_at(table, value or "", row)
    return row, ImageError(f"a {type(value).__name__} in the column of images; it must hold paths or bytes")


def image_at(table: str, value: str, row: str) -> Input:
    """The image at a path in a table, relative to its folder. row: the name to show where there is no path."""
    if not value:
        return row, ImageError("no path in this row")
    if "://" in value:
        return value, ImageError("an address in a table is not fetched: download the images first")
    if "://" in table:
        return value, ImageError("a path in a table on a network cannot be followed: put the bytes into the table")
    path = os.path.join(os.path.dirname(table), value)
    return path, path


def is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def csv_columns(path: Path) -> list[str]:
    encoding = find_encoding(path)
    return max((read_header(path, separator, encoding) for separator in SEPARATORS), key=len)


def parquet_columns(path: str, file: BinaryIO | None) -> list[str]:
    return open_parquet(path, file).schema_arrow.names


def count_rows(table: str) -> int:
    """Of a parquet table, from its metadata. Raises InputError."""
    if "://" not in table:
        return open_parquet(table, None).metadata.num_rows
    from inference.readers.object_store import open_store

    filesystem, path = open_store(table)
    with filesystem.open(path, "rb") as file:
        return open_parquet(table, file).metadata.num_rows


def open_parquet(path: str, file: BinaryIO | None):
    """A pyarrow.parquet.ParquetFile that reads as it goes instead of whole columns."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("parquet files need the package pyarrow: pip install pyarrow") from None
    return pyarrow.parquet.ParquetFile(file or path, buffer_size=READ_BYTES, pre_buffer=False)
