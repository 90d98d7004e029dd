"""Prepared datasets as training reads them: decoded and resized once, kept in a file, served a batch at a time.

pixels = cached_pixels(split, image_size=128, folder=Path("data/kaggle_fashion/cache"))   # (rows, 128, 128, 3)
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from tqdm import tqdm

from app.images import load_image, resize

CHUNK_ROWS = 256
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # pixels, label ids, row numbers


class ImageDataset(torch.utils.data.Dataset):
    """Rows of a split as uint8 images and label ids; hands out whole batches, which costs one copy each."""

    def __init__(self, split: Dataset, columns: list[str], pixels: np.ndarray):
        self.pixels = pixels
        self.labels = np.stack([np.asarray(split[column]) for column in columns], axis=1)
        self._split = split

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Batch:
        return self.pixels[index], self.labels[index], np.asarray(index)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.pixels[indices], self.labels[indices], np.asarray(indices)

    def ids(self, rows: list[int]) -> list[str]:
        """The ids of some rows, to name them to a person."""
        return self._split[rows]["id"]

    def groups(self) -> list[str]:
        """The duplicate group of every row."""
        return self._split["group"][:]


def collate(batch: Batch) -> dict[str, torch.Tensor]:
    """`pixel_values` (batch, 3, size, size) uint8 in channels_last, `labels` (batch,), `coarser_labels` (batch, n).

    `rows` (batch,) are the rows of the split.
    """
    pixels, labels, rows = batch
    labels = torch.from_numpy(labels)
    return {
        "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2),
        "labels": labels[:, 0],
        "coarser_labels": labels[:, 1:],
        "rows": torch.from_numpy(rows),
    }


def cached_pixels(split: Dataset, image_size: int, folder: Path) -> np.ndarray:
    """All images of a split as (rows, image_size, image_size, 3) uint8, decoded once and then mapped from a file."""
    path = cache_file(split, image_size, folder)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            _decode_all(split, image_size, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def cache_file(split: Dataset, image_size: int, folder: Path) -> Path:
    """Its name holds what decides its content, so another size or another dataset gets another file."""
    key = hashlib.sha256(f"{split._fingerprint} {image_size} {Image.__version__}".encode()).hexdigest()[:16]
    return folder / f"{key}.npy"


def bytes_to_cache(splits: Iterable[Dataset], image_size: int, folder: Path) -> int:
    """What cached_pixels will write for these splits that is not there yet."""
    return sum(len(split) * 3 * image_size**2 for split in splits if not cache_file(split, image_size, folder).exists())


def _decode_all(split: Dataset, image_size: int, path: Path) -> None:
    shape = (len(split), image_size, image_size, 3)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    encoded = split.select_columns("image").cast_column("image", ImageFeature(decode=False))

    def decode(row: dict) -> np.ndarray:
        return np.asarray(resize(load_image(row["bytes"], target_size=image_size), (image_size, image_size)))

    # Pillow releases the interpreter's lock while it decodes and resizes, so threads use every core.
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(split), desc="decode", unit=" images") as bar:
        for start in range(0, len(split), CHUNK_ROWS):
            rows = encoded[start : start + CHUNK_ROWS]["image"]
            for index, decoded in enumerate(pool.map(decode, rows), start):
                pixels[index] = decoded
            bar.update(len(rows))
    pixels.flush()
