"""A classifier's outputs over the original images of a prepared dataset, as arrays.

validation = run_split(classifier, "data/kaggle_fashion", "validation")     # SplitOutputs(logits=…, truth=…, …)
rows, truth = load_split(classifier, "data/kaggle_fashion", "test")
probabilities, attributes, images_per_second = calibrated_probabilities(classifier, rows)
images, fold_of = out_of_fold_outputs(classifier, Path("runs/cv/oof.parquet"), "data/mine")
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from datasets import Image as ImageFeature
from tqdm import tqdm

from app.classifier import Classifier, Product
from app.errors import UserError
from app.images import ImageError
from app.titled import TitledImage
from data_prep.pipeline.empty_splits import check_filled
from data_prep.pipeline.out_of_fold import read_out_of_fold
from data_prep.pipeline.prepared import DatasetError, load_prepared

SHOWN_CLASSES = 5


@dataclass(frozen=True, slots=True, eq=False)
class SplitOutputs:
    """Rows in the split's order. logits: (rows, labels) float32. embeddings: (rows, dim) float32; None where the graph
    has none. truth: (rows,) label ids as the model counts. groups: (rows,) names of duplicate groups. members: None, or
    (classes, labels) bool for a dataset with classes of its own, which `truth` then counts: the labels that are right
    for each."""

    logits: np.ndarray
    embeddings: np.ndarray | None
    truth: np.ndarray
    groups: np.ndarray
    members: np.ndarray | None = None

    def rows(self, chosen: np.ndarray) -> "SplitOutputs":
        """Some of the rows; chosen: their numbers, or (rows,) bool."""
        embeddings = None if self.embeddings is None else self.embeddings[chosen]
        return replace(
            self,
            logits=self.logits[chosen],
            embeddings=embeddings,
            truth=self.truth[chosen],
            groups=self.groups[chosen],
        )

    def right(self) -> np.ndarray:
        """(rows, labels) bool: the labels that are right for each row."""
        members = np.eye(self.logits.shape[1], dtype=bool) if self.members is None else self.members
        return members[self.truth]


def run_split(
    classifier: Classifier, dataset: str | Path, split: str, rows: int | None = None, label: str | None = None
) -> SplitOutputs:
    """Run all rows, or this many spread evenly over the split. Raises UserError for data that the model cannot read."""
    images, truth = load_split(classifier, dataset, split, label)
    outputs = run_images(classifier, images, rows, f"{Path(dataset).name} {split}")
    return replace(outputs, truth=truth[spread(len(images), rows)])


def run_images(classifier: Classifier, images: Dataset, rows: int | None, name: str) -> SplitOutputs:
    """Run rows whose images are undecoded; their truth is left at 0. Raises UserError, which names them `name`."""
    chosen = spread(len(images), rows)
    outputs = [name for name in ("logits", "embeddings") if name in classifier.outputs]
    results = classifier.run_many(encoded(images, chosen), outputs)
    progress = tqdm(results, desc=name, total=len(chosen), unit=" images", disable=None)
    try:
        logits, *embeddings = (np.stack(column) for column in zip(*progress, strict=True))
    except ImageError as error:
        raise UserError(f"{name}: {error}") from error
    groups = np.asarray(images["group"])[chosen] if "group" in images.features else chosen.astype(str)
    return SplitOutputs(logits, embeddings[0] if embeddings else None, np.zeros(len(chosen), dtype=int), groups)


def calibrated_probabilities(
    classifier: Classifier, rows: Dataset, titles: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Probabilities (rows, labels) float64 in the model's order, those of its attributes (rows, labels of all) or None,
    and images/s from bytes to answer.

    titles: of the rows, for the answers from both.
    Raises UserError for an image that cannot be read: a prepared dataset has none.
    """
    probabilities, of_attributes = np.empty((len(rows), len(classifier.labels))), []
    start = time.perf_counter()
    images: Iterable[Product] = encoded(rows, np.arange(len(rows)))
    if titles is not None:
        images = map(TitledImage, images, titles)
    stream = classifier.stream_scores(images)
    for number, scores in enumerate(tqdm(stream, total=len(rows), unit=" images", disable=None)):
        if scores.error:
            raise UserError(f"row {number} of the split: {scores.error}")
        probabilities[number] = scores.probabilities
        of_attributes.append(scores.attributes)
    images_per_second = len(rows) / (time.perf_counter() - start)
    return probabilities, np.stack(of_attributes) if classifier.attributes else None, images_per_second


def read_pixels(classifier: Classifier, dataset: str | Path, split: str, rows: int) -> np.ndarray:
    """What the model reads of a split's images, (rows, 3, height, width) float32."""
    images, _ = load_split(classifier, dataset, split)
    return np.stack([classifier.read(image) for image in encoded(images, spread(len(images), rows))])


def out_of_fold_outputs(classifier: Classifier, path: Path, dataset: str | Path) -> tuple[SplitOutputs, np.ndarray]:
    """What train.py --folds wrote: per image the logits of a model that never saw it, and its fold (rows,).

    Raises UserError for a file of another kind or about other labels.
    """
    images, _ = load_split(classifier, dataset, "train")
    names = images.features[classifier.taxonomy.levels[-1]].names
    oof = read_out_of_fold(path, names)
    if set(names) != set(classifier.labels) or not set(oof.labels) <= set(names):
        raise UserError(f"--oof {path}, --dataset {dataset} and the model are not about the same labels")
    logits = oof.logits[:, [names.index(label) for label in classifier.labels]]
    truth = label_ids(classifier, oof.labels)
    return SplitOutputs(logits, oof.embeddings, truth, np.asarray(oof.groups)), oof.fold_of


def load_split(
    classifier: Classifier, dataset: str | Path, split: str, label: str | None = None
) -> tuple[Dataset, np.ndarray]:
    """The rows of a split, images undecoded, and the ids of their true labels as the model counts them.

    label: the column to compare with; None for the one that the model learned. Raises UserError.
    """
    learned = classifier.taxonomy.levels[-1]
    label = label or learned
    try:
        images = load_prepared(str(dataset), label, [split])[split]
    except DatasetError as error:
        raise DatasetError(f"{error}; the model tells the values of {learned!r} apart") from error
    check_filled(dataset, {split: images})
    if split == "train":  # where an image may have a coarser label only
        images = images.select(np.flatnonzero(np.asarray(images[label]) >= 0))
    names = images.features[label].int2str(images[label])
    unknown = sorted(set(names) - set(classifier.labels))
    if unknown:
        shown = ", ".join(unknown[:SHOWN_CLASSES])
        raise UserError(f"the model does not know {len(unknown)} classes of {label}: {shown}")
    return undecoded(images), label_ids(classifier, names)


def read_titles(rows: Dataset, dataset: str | Path, column: str) -> list[str]:
    """The text of each row, "" for none. Raises UserError where there is no such column, or none of text."""
    if column not in rows.column_names:
        choice = ", ".join(name for name in rows.column_names if name != "image")
        raise UserError(f"--title_column {column!r}: {dataset} has no such column; it has {choice}")
    titles = rows[column]
    wrong = next((title for title in titles if title is not None and not isinstance(title, str)), None)
    if wrong is not None:
        raise UserError(f"--title_column {column!r} of {dataset} holds no text, but values such as {wrong!r:.40}")
    return [title or "" for title in titles]


def label_ids(classifier: Classifier, names: Sequence[str]) -> np.ndarray:
    """(rows,) the ids of labels as the model counts them."""
    id_of = {label: number for number, label in enumerate(classifier.labels)}
    return np.array([id_of[name] for name in names])


def coarser_categories(rows: Dataset, levels: Sequence[str]) -> dict[str, list[str]]:
    """The rows' true categories at those of these levels that the dataset has a column for."""
    return {level: rows.features[level].int2str(rows[level]) for level in levels if level in rows.features}


def spread(rows: int, count: int | None) -> np.ndarray:
    """The numbers of `count` rows, evenly over all of them: a split may be sorted by class. None for all."""
    return np.linspace(0, rows - 1, rows if count is None else min(count, rows)).round().astype(int)


def undecoded(images: Dataset) -> Dataset:
    """The same rows, each image as the bytes of its file."""
    return images.cast_column("image", ImageFeature(decode=False))


def some_images(split: Dataset, count: int) -> Iterator[bytes]:
    """The files of so many images, spread evenly over a split."""
    return encoded(undecoded(split), spread(len(split), count))


def encoded(images: Dataset, rows: np.ndarray) -> Iterator[bytes]:
    """The original bytes of the undecoded images in these rows, read as they are asked for."""
    column = images.select_columns("image")
    return (column[int(row)]["image"]["bytes"] for row in rows)
