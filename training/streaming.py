"""Train from Parquet shards on disk, hf://, s3:// or any fsspec address, without a copy of the data on this machine.

    python -m data_prep.shards --dataset data/kaggle_fashion --output shards/fashion       # write such shards
    python train.py --streaming --dataset shards/fashion --label articleType
    python train.py --streaming --dataset hf://datasets/me/fashion --label articleType

Shards lie anywhere below the address, `train*.parquet`, `validation*.parquet` and `test*.parquet` or in folders of
these names, with an image column `image`, `id`, and label columns with their class names, as `datasets` writes them.
The card dataset_info.md beside them holds the taxonomy. Training reads footers first, which say how many rows an epoch
has, then streams: the order of the shards is drawn for each epoch, and rows go through a shuffle buffer, both by
--seed, so that an interrupted run resumes in the same order. Images are decoded in threads ahead of the training.

Other people's shards are not trusted: a row that names a file or an address instead of holding its image is refused,
because decoding it would fetch whatever it names.
"""

import re
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet
import torch
from datasets import ClassLabel, Features, load_dataset
from datasets import Image as ImageFeature
from datasets.distributed import split_dataset_by_node

from app.errors import one_line
from app.images import ImageError
from data_prep.pipeline.card import CARD_NAME, read_card
from data_prep.pipeline.command import available_cores
from data_prep.pipeline.prepared import DatasetError, taxonomy_of
from data_prep.shards import refusal
from training.image_dataset import Batch, decode, model_inputs

SPLIT_PATTERN = re.compile(r"(train|validation|test)(?![a-z])")
BUFFER_ROWS = 2000  # encoded images in memory from which the next one is drawn
ROWS_AHEAD = 256  # decoded while the model works
FOOTER_THREADS = 8


@dataclass(frozen=True)
class StreamedSplit:
    """The shards of one split; nothing but their footers has been read. addresses: full, one per shard."""

    addresses: list[str]
    features: Features
    rows: int

    def column(self, name: str) -> list:
        """One small column of all rows, in the order of the shards; the images are not read."""
        values = []
        for address in self.addresses:
            with fsspec.open(address, "rb") as file:
                values += pyarrow.parquet.read_table(file, columns=[name])[name].to_pylist()
        return values


class StreamedImageDataset(torch.utils.data.IterableDataset):
    """Rows of a split as uint8 images and label ids, one at a time; shuffled anew in each epoch if given a seed."""

    def __init__(self, split: StreamedSplit, columns: Sequence[str], image_size: int, seed: int | None = None):
        self.split, self.columns, self.image_size, self.shuffled = split, list(columns), image_size, seed is not None
        files = {"rows": split.addresses}
        rows = load_dataset("parquet", data_files=files, split="rows", streaming=True, features=split.features)
        rows = rows.select_columns(["image", "id", *self.columns]).cast_column("image", ImageFeature(decode=False))
        self.rows = rows.shuffle(seed=seed, buffer_size=BUFFER_ROWS) if self.shuffled else rows

    def __len__(self) -> int:
        return self.split.rows

    def set_epoch(self, epoch: int) -> None:
        """Draw another order; the same one for the same seed and epoch."""
        self.rows.set_epoch(epoch)

    @cached_property
    def labels(self) -> np.ndarray:
        """(rows, columns) label ids in the order of the shards."""
        return np.stack([np.asarray(self.split.column(name)) for name in self.columns], axis=1)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """The ids of some rows, counted in the order of the shards."""
        known = self.split.column("id")
        return [known[row] for row in rows]

    def groups(self) -> list[str]:
        """The duplicate group of every row, in the order of the shards; each row its own where they name none."""
        return self.split.column("group" if "group" in self.split.features else "id")

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows, worker = self.rows, torch.utils.data.get_worker_info()
        if worker is not None:
            rows = split_dataset_by_node(rows, rank=worker.id, world_size=worker.num_workers)
        with ThreadPoolExecutor(available_cores()) as pool:
            for row, pixels in in_order(pool, self._decode, rows, ROWS_AHEAD):
                if pixels is not None:
                    yield pixels, np.array([row[column] for column in self.columns])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch of rows counted in the order of the shards, for a look at a few: the stream is read up to them."""
        in_batch, samples = set(indices), {}
        plain = StreamedImageDataset(self.split, self.columns, self.image_size)
        for index, row in enumerate(islice(plain.rows, max(in_batch) + 1)):
            if index in in_batch:
                samples[index] = plain._decode(row)[1], [row[column] for column in self.columns]
        pixels, labels = zip(*(samples[index] for index in indices), strict=True)
        return np.stack(pixels), np.array(labels), np.asarray(indices)

    def _decode(self, row: dict) -> tuple[dict, np.ndarray | None]:
        """The row with its image as (size, size, 3) uint8; None for a bad image while training."""
        data = (row["image"] or {}).get("bytes")
        if data is None:
            raise DatasetError(refusal(f"rows such as {row['id']}"))
        try:
            return row, decode(data, self.image_size)
        except ImageError as error:
            if not self.shuffled:
                raise DatasetError(f"image {row['id']}: {error}; a score needs every image") from error
            warnings.warn(f"the image {row['id']} is left out: {error}", stacklevel=2)
            return row, None


def in_order(pool: ThreadPoolExecutor, work: Callable, items: Iterable, ahead: int) -> Iterator:
    """The results of `work` on the items, in their order, `ahead` of them started before they are asked for."""
    pending = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def collate_rows(rows: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
    """What image_dataset.collate makes of a batch, without the row numbers, which a stream does not have."""
    return model_inputs(*(np.stack(column) for column in zip(*rows, strict=True)))


# --- opening ---------------------------------------------------------------------------------------------------------


def open_shards(address: str, label: str, needed: Sequence[str]) -> dict[str, StreamedSplit]:
    """The splits below an address, from the shards' footers. Raises DatasetError in one line."""
    shards = find_shards(address)
    missing = [split for split in needed if split not in shards]
    if missing:
        raise DatasetError(
            f"{address} has no shards {missing[0]}*.parquet; it has {', '.join(shards) or 'no .parquet files'}; "
            "`python -m data_prep.shards` writes shards"
        )
    return {split: open_split(split, addresses, label) for split, addresses in shards.items()}


def find_shards(address: str) -> dict[str, list[str]]:
    """The full addresses of each split's shards, sorted."""
    try:
        filesystem, root = fsspec.core.url_to_fs(address)
        paths = sorted(filesystem.glob(f"{root.rstrip('/')}/**/*.parquet"))
    except Exception as error:  # each file system has exceptions of its own, without a common base class
        raise DatasetError(f"--dataset {address} cannot be opened: {one_line(error)}") from error
    shards: dict[str, list[str]] = {}
    for path in paths:
        inside = path.removeprefix(root).lstrip("/").split("/")
        matches = [match[1] for match in map(SPLIT_PATTERN.match, reversed(inside)) if match]
        if matches:
            shards.setdefault(matches[0], []).append(filesystem.unstrip_protocol(path))
    return shards


def open_split(split: str, addresses: list[str], label: str) -> StreamedSplit:
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        footers = list(pool.map(read_footer, addresses))
    features = footers[0][0]
    for address, (columns, _) in zip(addresses, footers, strict=True):
        if columns != features:
            raise DatasetError(f"{address} has other columns or class names than {addresses[0]}")
    absent = [name for name in ("image", "id") if name not in features]
    if absent:
        raise DatasetError(f"{addresses[0]} has no column {absent[0]}; it has {', '.join(features)}")
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if label not in classes:
        known = ", ".join(classes) or "none; `python -m data_prep.shards` writes shards with class names"
        raise DatasetError(f"{addresses[0]} has no label column {label!r}; it has {known}")
    rows = sum(count for _, count in footers)
    if not rows:
        raise DatasetError(f"the {split} shards have no rows")
    return StreamedSplit(addresses, features, rows)


def read_footer(address: str) -> tuple[Features, int]:
    """Columns and rows of a shard. Raises DatasetError for a damaged one or one without images inside."""
    try:
        with fsspec.open(address, "rb") as file:
            shard = pyarrow.parquet.ParquetFile(file)
            features, footer = Features.from_arrow_schema(shard.schema_arrow), shard.metadata
    except Exception as error:  # as above; and pyarrow's
        raise DatasetError(f"{address} is not a readable Parquet file: {one_line(error)}") from error
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            counts = column.statistics
            if column.path_in_schema == "image.bytes" and counts and counts.has_null_count and counts.null_count:
                raise DatasetError(refusal(f"{address}: {counts.null_count} rows"))
    return features, footer.num_rows


def shards_taxonomy(address: str, label: str, names: Sequence[str]) -> dict:
    """As data_prep.pipeline.prepared.taxonomy_of, from the card beside the shards; one level without a card."""
    with copied_card(address) as folder:
        if folder is None:
            return {"levels": [label], "paths": {name: [name] for name in names}}
        return taxonomy_of(folder, label, names)


def shards_fingerprint(address: str) -> str | None:
    """The fingerprint in the card beside the shards; None without a card."""
    with copied_card(address) as folder:
        return None if folder is None else read_card(folder).get("fingerprint")


@contextmanager
def copied_card(address: str) -> Iterator[str | None]:
    """A folder on this machine with the card beside the shards; None without a card."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with fsspec.open(f"{address.rstrip('/')}/{CARD_NAME}", "rb") as card:
                Path(folder, CARD_NAME).write_bytes(card.read())
        except FileNotFoundError:
            folder = None
        yield folder
