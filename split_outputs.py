"""Run a classifier over the original pictures of a prepared dataset and keep what its graph gives.

split = run_split(classifier, "data/kaggle_fashion", "validation")     # SplitOutputs(logits=…, truth=…, …)
folds = read_out_of_fold(classifier, Path("runs/mine/oof.parquet"), "data/mine")
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from datasets import Dataset
from datasets import Image as ImageFeature
from tqdm import tqdm

from app.classifier import Classifier, ImageError
from data_prep.prepared import DatasetError, load_prepared


@dataclass(frozen=True, slots=True, eq=False)
class SplitOutputs:
    """Rows in the split's order. logits: (rows, labels) float32. embeddings: (rows, dim) float32; None where the graph
    has none. truth: (rows,) label ids as the model counts. groups: (rows,) names of duplicate groups."""

    logits: np.ndarray
    embeddings: np.ndarray | None
    truth: np.ndarray
    groups: np.ndarray


def run_split(classifier: Classifier, dataset: str | Path, split: str, rows: int | None = None) -> SplitOutputs:
    """Run all rows, or so many spread evenly over the split. Raises ValueError for data that the model cannot read."""
    pictures, truth = open_split(classifier, dataset, split)
    chosen = spread(len(pictures), rows)
    outputs = [name for name in ("logits", "embeddings") if name in classifier.outputs]
    results = classifier.run_many(encoded(pictures, chosen), outputs)
    progress = tqdm(results, desc=split, total=len(chosen), unit=" images", disable=None)
    try:
        columns = [np.stack(column) for column in zip(*progress, strict=True)]
    except ImageError as error:
        raise ValueError(f"the {split} split of {dataset}: {error}") from error
    groups = np.asarray(pictures["group"])[chosen] if "group" in pictures.features else chosen.astype(str)
    return SplitOutputs(columns[0], columns[1] if len(columns) > 1 else None, truth[chosen], groups)


def read_pixels(
    classifier: Classifier, dataset: str | Path, split: str, rows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the model reads of a split's pictures, (rows, 3, height, width) float32, and their label ids."""
    pictures, truth = open_split(classifier, dataset, split)
    chosen = spread(len(pictures), rows)
    pixels = np.empty((len(chosen), 3, *classifier.image_size), dtype=np.float32)
    for picture, out in zip(encoded(pictures, chosen), pixels, strict=True):
        classifier.read(picture, out)
    return pixels, truth[chosen]


def read_out_of_fold(classifier: Classifier, path: Path, dataset: str | Path) -> SplitOutputs:
    """What train.py --folds wrote: about each picture the logits of a model that never saw it; no embeddings, since
    every fold's are others. Raises ValueError for a file of another kind or about other labels."""
    level = classifier.taxonomy.levels[-1]
    try:
        table = pyarrow.parquet.read_table(path, columns=["group", "label", "logits"])
        names = load_prepared(str(dataset), level, ["train"])["train"].features[level].names
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"--oof {path} is no oof.parquet of train.py --folds: {str(error).splitlines()[0]}") from error
    except DatasetError as error:
        raise ValueError(f"{error}; the model tells the values of {level!r} apart") from error
    if set(names) != set(classifier.labels):
        raise ValueError(f"--oof: the labels of {dataset} are not those of the model")
    values = table["logits"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if len(values) != table.num_rows * len(names) or not set(table["label"].to_pylist()) <= set(names):
        raise ValueError(f"--oof {path} is about other labels than {dataset}")
    logits = values.reshape(-1, len(names))[:, [names.index(label) for label in classifier.labels]]
    number_of = {label: number for number, label in enumerate(classifier.labels)}
    truth = np.array([number_of[label] for label in table["label"].to_pylist()])
    return SplitOutputs(logits, None, truth, np.asarray(table["group"].to_pylist()))


def open_split(classifier: Classifier, dataset: str | Path, split: str) -> tuple[Dataset, np.ndarray]:
    """The rows of a split and their label ids as the model counts them. Raises ValueError."""
    level = classifier.taxonomy.levels[-1]
    try:
        pictures = load_prepared(str(dataset), level, [split])[split]
    except DatasetError as error:
        raise ValueError(f"{error}; the model tells the values of {level!r} apart") from error
    model_id = {label: i for i, label in enumerate(classifier.labels)}
    names = pictures.features[level].names
    strange = sorted({names[i] for i in pictures[level]} - set(model_id))
    if strange:
        raise ValueError(f"the model does not know {len(strange)} values of {level}: {', '.join(strange[:5])}")
    return pictures, np.array([model_id[names[i]] for i in pictures[level]])


def spread(rows: int, wanted: int | None) -> np.ndarray:
    """Numbers of so many rows, evenly over all of them: a split may be sorted by class."""
    count = rows if wanted is None else min(wanted, rows)
    return np.linspace(0, rows - 1, count).round().astype(int)


def encoded(pictures: Dataset, rows: np.ndarray) -> Iterator[bytes]:
    """The original bytes of the pictures in these rows, read as they are asked for."""
    images = pictures.select_columns("image").cast_column("image", ImageFeature(decode=False))
    return (images[int(row)]["image"]["bytes"] for row in rows)
