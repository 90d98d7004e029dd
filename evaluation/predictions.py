"""Run a classifier over the original images of a prepared dataset and keep what its graph gives.

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
from data_prep.pipeline.prepared import DatasetError, load_prepared


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
    encoded_images, truth = open_split(classifier, dataset, split)
    chosen = spread(len(encoded_images), rows)
    outputs = [name for name in ("logits", "embeddings") if name in classifier.outputs]
    results = classifier.run_many(encoded(encoded_images, chosen), outputs)
    progress = tqdm(results, desc=split, total=len(chosen), unit=" images", disable=None)
    try:
        columns = [np.stack(column) for column in zip(*progress, strict=True)]
    except ImageError as error:
        raise ValueError(f"the {split} split of {dataset}: {error}") from error
    groups = np.asarray(encoded_images["group"])[chosen] if "group" in encoded_images.features else chosen.astype(str)
    return SplitOutputs(columns[0], columns[1] if len(columns) > 1 else None, truth[chosen], groups)


def read_pixels(
    classifier: Classifier, dataset: str | Path, split: str, rows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the model reads of a split's images, (rows, 3, height, width) float32, and their label ids."""
    encoded_images, truth = open_split(classifier, dataset, split)
    chosen = spread(len(encoded_images), rows)
    pixels = np.empty((len(chosen), 3, *classifier.image_size), dtype=np.float32)
    for image, out in zip(encoded(encoded_images, chosen), pixels, strict=True):
        classifier.read(image, out)
    return pixels, truth[chosen]


def read_out_of_fold(classifier: Classifier, path: Path, dataset: str | Path) -> tuple[SplitOutputs, np.ndarray]:
    """What train.py --folds wrote: about each image the logits of a model that never saw it, and its fold (rows,).

    Embeddings are there only where all folds share the network that gives them. Raises ValueError for a file of
    another kind or about other labels.
    """
    level = classifier.taxonomy.levels[-1]
    try:
        table = pyarrow.parquet.read_table(path)
        names = load_prepared(str(dataset), level, ["train"])["train"].features[level].names
        truth, logits = table["label"].to_pylist(), matrix_of(table["logits"])
        groups, fold_of = np.asarray(table["group"].to_pylist()), table["fold"].to_numpy()
    except DatasetError as error:
        raise ValueError(f"{error}; the model tells the values of {level!r} apart") from error
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"--oof {path} is no oof.parquet of train.py --folds: {str(error).splitlines()[0]}") from error
    if set(names) != set(classifier.labels) or logits.shape[1] != len(names) or not set(truth) <= set(names):
        raise ValueError(f"--oof {path}, --dataset {dataset} and the model are not about the same labels")
    number_of = {label: number for number, label in enumerate(classifier.labels)}
    return SplitOutputs(
        logits[:, [names.index(label) for label in classifier.labels]],
        matrix_of(table["embeddings"]) if "embeddings" in table.column_names else None,
        np.array([number_of[label] for label in truth]),
        groups,
    ), fold_of


def matrix_of(column: pyarrow.ChunkedArray) -> np.ndarray:
    """(rows, values) float32 of a column of lists that are equally long."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def open_split(classifier: Classifier, dataset: str | Path, split: str) -> tuple[Dataset, np.ndarray]:
    """The rows of a split and their label ids as the model counts them. Raises ValueError."""
    level = classifier.taxonomy.levels[-1]
    try:
        encoded_images = load_prepared(str(dataset), level, [split])[split]
    except DatasetError as error:
        raise ValueError(f"{error}; the model tells the values of {level!r} apart") from error
    model_id = {label: i for i, label in enumerate(classifier.labels)}
    names = encoded_images.features[level].names
    strange = sorted({names[i] for i in encoded_images[level]} - set(model_id))
    if strange:
        raise ValueError(f"the model does not know {len(strange)} values of {level}: {', '.join(strange[:5])}")
    return encoded_images, np.array([model_id[names[i]] for i in encoded_images[level]])


def spread(rows: int, wanted: int | None) -> np.ndarray:
    """Numbers of so many rows, evenly over all of them: a split may be sorted by class."""
    count = rows if wanted is None else min(wanted, rows)
    return np.linspace(0, rows - 1, count).round().astype(int)


def encoded(encoded_images: Dataset, rows: np.ndarray) -> Iterator[bytes]:
    """The original bytes of the images in these rows, read as they are asked for."""
    images = encoded_images.select_columns("image").cast_column("image", ImageFeature(decode=False))
    return (images[int(row)]["image"]["bytes"] for row in rows)
