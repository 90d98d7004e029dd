"""Tables in Parquet, row group by row group, so that a damaged page costs its group and memory stays small.

Images hardly shrink: a row group that claims to unpack to far more bytes than it has is refused before it is read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import UserError, one_line
from data_prep.pipeline.table import Record, Table

ROWS_PER_READ = 16  # images in memory at the same time, beside the batches
READ_BYTES = 2**20
BYTES_PER_READ = 32 * 2**20
MAX_RATIO, MAX_HARMLESS = 50, 16 * 2**20
REASON_LENGTH = 150


class ParquetTable(Table):
    def __init__(self, path: Path | str, open_file: Callable[[str], BinaryIO] | None = None) -> None:
        """Raises UserError where the table's own description cannot be read."""
        self.path, self._open_file = path, open_file
        try:
            with self.opened() as file:
                self.header = [str(name) for name in file.schema_arrow.names]
                self.group_rows = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
                self.schema = file.schema_arrow
                self.class_names = class_names(file.schema_arrow.metadata or {})
        except UserError:
            raise
        except (ValueError, OSError, MemoryError) as error:  # pyarrow's errors are all three
            raise UserError(f"{path} is a damaged Parquet table ({one_line(error, REASON_LENGTH)})") from None

    def count(self) -> int:
        return sum(self.group_rows)

    def records(self, columns: Sequence[int] | None = None) -> Iterator[Record]:
        """A row group that cannot be read is one record with the problem."""
        for group in range(len(self.group_rows)):
            yield from self.records_of(group, columns)

    def records_of(self, group: int, columns: Sequence[int] | None = None) -> Iterator[Record]:
        names = self.header if columns is None else [self.header[column] for column in columns]
        first = sum(self.group_rows[:group]) + 1
        last = first + self.group_rows[group] - 1
        number = first
        try:
            with self.opened() as file:
                rows = rows_per_read(file.metadata.row_group(group), names)
                for batch in file.iter_batches(rows, row_groups=[group], columns=list(dict.fromkeys(names))):
                    for values in zip(*(batch.column(name) for name in names), strict=True):
                        yield Record(number, [value.as_py() for value in values])
                        number += 1
        except UserError as error:
            yield Record(number, [None] * len(names), f"rows {number:,} to {last:,} are not read: {error}")
        except (ValueError, OSError, MemoryError) as error:
            reason = "".join(letter for letter in one_line(error, REASON_LENGTH) if letter.isprintable())
            yield Record(number, [None] * len(names), f"rows {number:,} to {last:,} are damaged ({reason})")

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, which is read as it goes instead of in whole columns."""
        try:
            import pyarrow.parquet
        except ImportError:
            raise UserError("Parquet files need the package pyarrow: pip install pyarrow") from None
        place = self._open_file(str(self.path)) if self._open_file else nullcontext(str(self.path))
        with place as source, pyarrow.parquet.ParquetFile(source, buffer_size=READ_BYTES, pre_buffer=False) as file:
            yield file


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of classes that `datasets` keeps in a table, by column."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def rows_per_read(group: Any, names: Sequence[str]) -> int:
    """How many rows fit into memory. Raises UserError for columns that claim to unpack to too much.

    A dictionary holds each value once, so a row may have as many bytes as the whole dictionary.
    """
    columns = [group.column(index) for index in range(group.num_columns)]
    columns = [column for column in columns if column.path_in_schema.split(".")[0] in names]
    packed = sum(column.total_compressed_size for column in columns)
    unpacked = sum(column.total_uncompressed_size for column in columns)
    if unpacked > MAX_RATIO * packed + MAX_HARMLESS:
        raise UserError(f"{packed:,} bytes that claim to unpack to {unpacked:,}; images never shrink like that")
    if not any(column.has_dictionary_page for column in columns):
        return ROWS_PER_READ
    return max(1, min(ROWS_PER_READ, BYTES_PER_READ // max(1, unpacked)))
