"""Prepared datasets as training reads them: decoded and resized once, kept in a file, served a batch at a time.

pixels = cached_pixels(split, image_size=128, folder=Path("data/kaggle_fashion/cache"))   # (rows, 128, 128, 3)
"""

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from tqdm import tqdm

from app.files import replacing
from app.images import load_image
from data_prep.pipeline.command import available_cores
from training.pixel_cache import fault, seal

CHUNK_ROWS = 256
SHAPING = "squeezed from all pixels"  # how an image gets its size; in the name of its cache
COMPARED_ROWS = 5  # of a file of decoded images, with what the dataset gives now
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # pixels, label ids, row numbers


class ImageDataset(torch.utils.data.Dataset):
    """Rows of a split as uint8 images and label ids, training.data.Images; a whole batch costs one copy."""

    def __init__(self, split: Dataset, columns: Sequence[str], pixels: np.ndarray):
        self.pixels = pixels
        self.labels = np.stack([np.asarray(split[column]) for column in columns], axis=1)
        self._split = split

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.pixels[indices], self.labels[indices], np.asarray(indices)

    def ids(self, rows: list[int]) -> list[str]:
        return self._split[rows]["id"]

    def groups(self) -> list[str]:
        return self._split["group"][:]


class PooledImageDataset:
    """Some rows of several ImageDataset as if they were one, without a copy of the pixels."""

    def __init__(self, parts: Sequence[ImageDataset], rows: np.ndarray):
        """rows: numbers that count through all parts."""
        self.parts, self.rows = parts, rows
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.labels = np.concatenate([part.labels for part in parts])[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch as ImageDataset gives it; row numbers are this object's own."""
        rows = self.rows[indices]
        part_of = self._part_of(rows)
        pixels = np.empty((len(rows), *self.parts[0].pixels.shape[1:]), np.uint8)
        for number, part in enumerate(self.parts):
            in_part = part_of == number
            pixels[in_part] = part.pixels[rows[in_part] - self.starts[number]]
        return pixels, self.labels[indices], np.asarray(indices)

    def ids(self, rows: list[int]) -> list[str]:
        rows = self.rows[rows]
        places = zip(self._part_of(rows).tolist(), rows.tolist(), strict=True)
        return [self.parts[number].ids([int(row - self.starts[number])])[0] for number, row in places]

    def groups(self) -> list[str]:
        groups = [group for part in self.parts for group in part.groups()]
        return [groups[row] for row in self.rows]

    def _part_of(self, rows: np.ndarray) -> np.ndarray:
        """(rows,): the part that each row, counted through all parts, lies in."""
        return np.searchsorted(self.starts, rows, side="right") - 1


def collate(batch: Batch) -> dict[str, torch.Tensor]:
    """`pixel_values` (batch, 3, size, size) uint8 in channels_last, `labels` (batch,), `coarser_labels` (batch, n).

    `rows` (batch,) are the rows of the split.
    """
    pixels, labels, rows = batch
    return {**model_inputs(pixels, labels), "rows": torch.from_numpy(rows)}


def model_inputs(pixels: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
    """pixels: (batch, size, size, 3) uint8; labels: (batch, levels) ids, the label first."""
    label_ids = torch.from_numpy(labels)
    return {
        "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2),
        "labels": label_ids[:, 0],
        "coarser_labels": label_ids[:, 1:],
    }


def cached_pixels(split: Dataset, image_size: int, folder: Path) -> np.ndarray:
    """All images of a split as (rows, image_size, image_size, 3) uint8, decoded once and then mapped from a file.

    The file is read against its hash, and some rows against the dataset; if they differ, it is written anew.
    """
    path, shape = cache_file(split, image_size, folder), _shape(split, image_size)
    reason = fault(path, shape) or _other_pixels(split, image_size, path)
    if reason:
        if path.exists():
            print(f"{path}: the decoded images are {reason}; decoding them again", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            _decode_all(split, image_size, partial)
        seal(path)
    return np.load(path, mmap_mode="r")


def cache_file(split: Dataset, image_size: int, folder: Path) -> Path:
    """Its name holds what decides its content, so another size or another dataset gets another file."""
    key = hashlib.sha256(f"{split._fingerprint} {image_size} {Image.__version__} {SHAPING}".encode()).hexdigest()[:16]
    return folder / f"{key}.npy"


def bytes_to_cache(splits: Iterable[Dataset], image_size: int, folder: Path) -> int:
    """What cached_pixels will write for these splits that is not there yet."""
    shapes = {cache_file(split, image_size, folder): _shape(split, image_size) for split in splits}
    return sum(math.prod(shape) for path, shape in shapes.items() if fault(path, shape, deep=False))


def decode(data: bytes, image_size: int) -> np.ndarray:
    """(image_size, image_size, 3) uint8 of an encoded image. Raises ImageError."""
    return np.asarray(load_image(data, (image_size, image_size)))


def _shape(split: Dataset, image_size: int) -> tuple[int, ...]:
    return len(split), image_size, image_size, 3


def _undecoded(split: Dataset) -> Dataset:
    return split.select_columns("image").cast_column("image", ImageFeature(decode=False))


def _other_pixels(split: Dataset, image_size: int, path: Path) -> str:
    """What is wrong if some rows, decoded now, are not as in the file; an empty string if they are."""
    pixels, encoded = np.load(path, mmap_mode="r"), _undecoded(split)
    rows = sorted({round(row) for row in np.linspace(0, len(split) - 1, COMPARED_ROWS)})
    same = all(np.array_equal(decode(encoded[row]["image"]["bytes"], image_size), pixels[row]) for row in rows)
    return "" if same else "others than the dataset's"


def _decode_all(split: Dataset, image_size: int, path: Path) -> None:
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=_shape(split, image_size))
    encoded = _undecoded(split)
    # Pillow releases the interpreter's lock while it decodes and resizes, so threads use every core.
    with ThreadPoolExecutor(available_cores()) as pool, tqdm(total=len(split), desc="decode", unit=" images") as bar:
        for start in range(0, len(split), CHUNK_ROWS):
            rows = encoded[start : start + CHUNK_ROWS]["image"]
            decoded = pool.map(lambda row: decode(row["bytes"], image_size), rows)
            for index, image in enumerate(decoded, start):
                pixels[index] = image
            bar.update(len(rows))
    pixels.flush()
