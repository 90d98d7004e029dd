"""Prepared datasets as training reads them: decoded and resized once, kept in a file, served a batch at a time.

pixels = cached_pixels(split, image_size=128, folder=Path("data/kaggle_fashion/cache"))   # (rows, 128, 128, 3)
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, load_from_disk
from datasets import Image as ImageFeature
from PIL import Image
from tqdm import tqdm

from app.images import load_image, pad_to_square

# The taxonomy's columns, coarse to fine; a label column among them has the ones before it as its levels.
TAXONOMY_COLUMNS = ("masterCategory", "subCategory", "articleType")
CHUNK_ROWS = 256


class DatasetError(ValueError):
    """The dataset folder or a column of it cannot be used; the message says what would do."""


class CataloguePictures(torch.utils.data.Dataset):
    """Rows of a split as uint8 pictures and label ids; hands out whole batches, which costs one copy each."""

    def __init__(self, split: Dataset, columns: list[str], pixels: np.ndarray):
        self.pixels = pixels
        self.labels = np.stack([np.asarray(split[column]) for column in columns], axis=1)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.pixels[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self.pixels[indices], self.labels[indices]


def collate(batch: tuple[np.ndarray, np.ndarray]) -> dict[str, torch.Tensor]:
    """`pixel_values` (batch, 3, size, size) uint8 in channels_last, `labels` (batch,), `other_labels` (batch, n)."""
    pixels, labels = batch
    labels = torch.from_numpy(labels)
    return {
        "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2),
        "labels": labels[:, 0],
        "other_labels": labels[:, 1:],
    }


def load_prepared(folder: str, label_columns: list[str]) -> DatasetDict:
    """The dataset that a data_prep module wrote. Raises DatasetError naming what is missing and what is there."""
    try:
        dataset = load_from_disk(folder)
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} is no prepared dataset; data_prep writes one, see the README") from error
    missing = {"train", "validation"} - set(dataset if isinstance(dataset, DatasetDict) else {})
    if missing:
        raise DatasetError(f"{folder} has no split {' and no split '.join(sorted(missing))}")
    classes = [name for name, feature in dataset["train"].features.items() if isinstance(feature, ClassLabel)]
    for label in label_columns:
        if label not in classes:
            raise DatasetError(f"{folder} has no label column {label!r}; it has {', '.join(classes) or 'none'}")
    return dataset


def taxonomy_levels(dataset: DatasetDict, label: str) -> list[str]:
    """The label's column with the coarser columns of its taxonomy before it, coarse to fine."""
    if label not in TAXONOMY_COLUMNS:
        return [label]
    above = TAXONOMY_COLUMNS[: TAXONOMY_COLUMNS.index(label)]
    return [column for column in above if column in dataset["train"].features] + [label]


def taxonomy_of(dataset: DatasetDict, label: str) -> dict:
    """`{"levels": [coarse … label], "paths": {label name: [coarse name … label name]}}` from the columns.

    A leaf that stands under several parents gets the commonest one; a leaf without any row stands under itself.
    """
    levels = taxonomy_levels(dataset, label)
    names = [dataset["train"].features[level].names for level in levels]
    columns = [np.concatenate([np.asarray(split[level]) for split in dataset.values()]) for level in levels]
    ids = np.stack(columns, axis=1)
    paths = {}
    for leaf, leaf_name in enumerate(names[-1]):
        rows = ids[ids[:, -1] == leaf]
        if len(rows) == 0:
            paths[leaf_name] = [leaf_name] * len(levels)
            continue
        found, counts = np.unique(rows, axis=0, return_counts=True)
        commonest = found[counts.argmax()]
        paths[leaf_name] = [level_names[i] for level_names, i in zip(names, commonest, strict=True)]
    return {"levels": levels, "paths": paths}


def cached_pixels(split: Dataset, image_size: int, folder: Path) -> np.ndarray:
    """All pictures of a split as (rows, image_size, image_size, 3) uint8, decoded once and then mapped from a file.

    The file's name holds what decides its content, so another size or another dataset gets another file.
    """
    key = hashlib.sha256(f"{split._fingerprint} {image_size} {Image.__version__}".encode()).hexdigest()[:16]
    path = folder / f"{key}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{key}.{os.getpid()}.partial"
        try:
            _decode_all(split, image_size, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _decode_all(split: Dataset, image_size: int, path: Path) -> None:
    shape = (len(split), image_size, image_size, 3)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    encoded = split.select_columns("image").cast_column("image", ImageFeature(decode=False))

    def decode(row: dict) -> np.ndarray:
        image = pad_to_square(load_image(row["bytes"], target_size=image_size))
        return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))

    # Pillow releases the interpreter's lock while it decodes and resizes, so threads use every core.
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(split), desc="decode", unit=" images") as bar:
        for start in range(0, len(split), CHUNK_ROWS):
            rows = encoded[start : start + CHUNK_ROWS]["image"]
            for index, decoded in enumerate(pool.map(decode, rows), start):
                pixels[index] = decoded
            bar.update(len(rows))
    pixels.flush()
