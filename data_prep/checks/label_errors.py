"""Likely label errors: images for which a model that never trained on them is sure of another label.

The predictions come from out-of-fold training (`oof.parquet` of train.py --folds, which covers train and validation) or
from a finished model folder (validation and test only: a model repeats the wrong labels it was trained on). cleanlab's
confident learning decides what stands out: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in
Dataset Labels, https://arxiv.org/abs/1911.00068.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.checks.checkup import FINE, Checkup, Finding, Proposals, plural
from data_prep.checks.contact_sheet import Band
from data_prep.pipeline.card import table
from data_prep.pipeline.images import open_split, split_key
from data_prep.pipeline.schema import Row

MIN_SHARE_KNOWN = 0.5  # of a column's classes: a model that knows fewer was trained for something else
MIN_CLASS_ROWS = 5  # cleanlab's thresholds mean nothing for a class with fewer
SURE = 0.9  # of another label, to propose it
DOUBTFUL = 0.02  # of the given label, to propose another
TILES = 36
PAIRS_SHOWN = 8
MAX_SUM_ERROR = 0.02
NORMAL_95 = 1.96


@dataclass(slots=True)
class Predictions:
    """What a model says about some rows.

    origin: of the predictions, for the report; covers: what they are about. indices: of the rows in the checkup;
    probabilities: `(n, classes) float32`.
    """

    origin: str
    covers: str
    names: list[str]
    indices: np.ndarray
    probabilities: np.ndarray

    def right(self, labels: Sequence[str]) -> dict[int, bool]:
        """Whether the most probable class is the row's label, by row."""
        best = self.probabilities.argmax(axis=1)
        pairs = zip(self.indices.tolist(), best.tolist(), strict=True)
        return {index: self.names[number] == labels[index] for index, number in pairs}


# --- where predictions come from -------------------------------------------------------------------------------------


def load_model(folder: Path, column: str, rows: Sequence[Row]):
    """The Classifier of a model folder. Raises ValueError unless it knows at least half of the column's classes."""
    from app.classifier import Classifier  # onnxruntime, which a report without a model does not need

    classifier = Classifier.load(folder)
    known = set(classifier.labels)
    share = {name: np.mean([label in known for label in {row.labels[name] for row in rows}]) for name in rows[0].labels}
    if share[column] < MIN_SHARE_KNOWN:
        best = max(share, key=share.get)
        fits = share[best] >= MIN_SHARE_KNOWN
        cure = f"--label {best} fits it" if fits else "give a model that was trained on this dataset"
        raise ValueError(f"{folder} knows {', '.join(classifier.labels[:3])}, ..., not the classes of {column}; {cure}")
    return classifier


def predict(classifier, folder: Path, checkup: Checkup) -> Predictions:
    """A model's probabilities for validation and test."""
    names = list(classifier.labels)
    indices = [index for split in ("validation", "test") for index in checkup.indices(split)]
    position = {name: number for number, name in enumerate(names)}
    probabilities = np.zeros((len(indices), len(names)), np.float32)
    images = (checkup.rows[index].image.read() for index in indices)
    with tqdm(total=len(indices), desc="asking the model", unit="image", disable=None) as progress:
        for number, prediction in enumerate(classifier.stream(images, top_k=len(names))):
            if prediction.status != "ok":
                raise ValueError(f"{folder} cannot classify {checkup.rows[indices[number]].file}: {prediction.error}")
            for label, confidence in prediction.top_k:
                probabilities[number, position[label]] = confidence
            progress.update()
    return Predictions(
        f"the model {folder}", "validation and test", names, np.array(indices, dtype=np.int64), probabilities
    )


@dataclass(slots=True)
class OutOfFold:
    """The content of an oof.parquet. probabilities: `(ids, names) float32`."""

    path: Path
    names: list[str]
    ids: list[str]
    probabilities: np.ndarray

    def of(self, checkup: Checkup) -> Predictions:
        """The predictions for the rows that are in the checkup."""
        position = {row.id: index for index, row in enumerate(checkup.rows)}
        found = np.array([position.get(identity, -1) for identity in self.ids], dtype=np.int64)
        known = found >= 0
        origin = f"out-of-fold training, {self.path}"
        return Predictions(origin, "out of fold", self.names, found[known], self.probabilities[known])


def read_out_of_fold(path: Path, folder: Path, column: str, rows: Sequence[Row]) -> OutOfFold:
    """The predictions of an oof.parquet with `id`, `label` and `probabilities` (a list, or one column a class).

    A list is in the order of the column's class names, which are sorted. Raises ValueError that names what is wrong.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        content = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"cannot read {path} as Parquet: {str(error).splitlines()[0][:200]}") from error
    if "id" not in content.column_names:
        raise ValueError(f"{path} has no column id; it has {', '.join(content.column_names)[:300]}")
    split = rows[0].split
    names = open_split(str(folder), split, split_key(str(folder), split)).features[column].names
    probabilities = probabilities_of(content, names, path)
    check_probabilities(probabilities, path)
    ids = [str(identity) for identity in content["id"].to_pylist()]
    if not {row.id for row in rows}.intersection(ids):
        raise ValueError(f"no id of {path} is in {folder}; was it made from another dataset?")
    return OutOfFold(path, names, ids, probabilities)


def probabilities_of(content, names: Sequence[str], path: Path) -> np.ndarray:
    """`(rows, classes) float32` of a table with a list column or with a column a class."""
    if "probabilities" in content.column_names:
        column = content["probabilities"].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        if len(values) != len(column) * len(names):
            found = f"{len(values) / max(1, len(column)):g}"
            raise ValueError(f"{path} has {found} probabilities a row; the column has {len(names)} classes")
        return values.reshape(len(column), len(names))
    missing = [name for name in names if name not in content.column_names]
    if missing:
        raise ValueError(
            f"{path} has neither a column probabilities nor one a class; {', '.join(missing[:5])} is missing"
        )
    return np.stack([content[name].to_numpy() for name in names], axis=1).astype(np.float32)


def check_probabilities(probabilities: np.ndarray, path: Path) -> None:
    """Raises ValueError unless each row is a distribution."""
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError(f"{path} holds probabilities that are negative or no numbers")
    off = np.abs(probabilities.sum(axis=1) - 1).max(initial=0)
    if off > MAX_SUM_ERROR:
        raise ValueError(f"{path}: the probabilities of a row do not add up to 1 (off by {off:.3g}); are they logits?")


# --- what stands out -------------------------------------------------------------------------------------------------


def find_errors(checkup: Checkup, predictions: Predictions) -> tuple[np.ndarray, np.ndarray, int]:
    """(suspects, given, skipped): positions in `predictions`, worst first; class numbers of all its rows (-1: the
    model does not know the label); and how many rows were of classes too small or unknown to judge."""
    from cleanlab.filter import find_label_issues  # 2 s, paid by a report with predictions only

    position = {name: number for number, name in enumerate(predictions.names)}
    labels = checkup.labels()
    given = np.array([position.get(labels[index], -1) for index in predictions.indices], dtype=np.int64)
    counts = np.bincount(given[given >= 0], minlength=len(position))
    classes = np.flatnonzero(counts >= MIN_CLASS_ROWS)
    judged = np.flatnonzero(np.isin(given, classes))
    skipped = len(given) - len(judged)
    if len(classes) < 2:
        return np.array([], dtype=np.int64), given, skipped
    dense = predictions.probabilities[np.ix_(judged, classes)] + 1e-9
    dense /= dense.sum(axis=1, keepdims=True)
    number_of = np.zeros(len(position), np.int64)
    number_of[classes] = np.arange(len(classes))
    ranked = find_label_issues(
        number_of[given[judged]], dense, return_indices_ranked_by="normalized_margin", filter_by="both", n_jobs=1
    )
    return judged[ranked], given, skipped


def describe_errors(checkup: Checkup, predictions: Predictions, proposals: Proposals) -> Finding:
    """The suspects with their contact sheet; those a model is sure about are proposed for relabelling."""
    from importlib.metadata import version

    suspects, given, skipped = find_errors(checkup, predictions)
    best = predictions.probabilities.argmax(axis=1)
    proposed = propose(checkup, predictions, suspects, given, best, proposals)
    right = predictions.right(checkup.labels())
    hits = np.array([right[index] for index in predictions.indices.tolist()])
    lines = [
        f"{plural(len(predictions.indices), 'image')} judged by {predictions.origin}, which agrees with "
        f"{accuracy_cell(hits)} of the labels; found with cleanlab {version('cleanlab')}."
    ]
    if skipped:
        lines[0] += (
            f" {plural(skipped, 'image')} of classes with fewer than {MIN_CLASS_ROWS} images there, or unknown "
            "to the model, could not be judged."
        )
    lines += ["", f"{plural(proposed, 'image')} proposed: the model gives another label at least {SURE:.0%} and the "]
    lines[-1] += f"given one at most {DOUBTFUL:.0%}. A person should look: the sheet shows the worst first."
    lines += pair_table(predictions, suspects, given, best)
    tiles = [error_tile(checkup, predictions, number, given, best) for number in suspects[:TILES]]
    advice = "look at the sheet, then apply relabel.csv" if len(suspects) else FINE
    title = f"Likely label errors in {checkup.column}, {predictions.covers}"
    return Finding(title, plural(len(suspects), "image"), advice, lines, "label_errors.png", [Band("", tiles)])


def propose(
    checkup: Checkup,
    predictions: Predictions,
    suspects: np.ndarray,
    given: np.ndarray,
    best: np.ndarray,
    proposals: Proposals,
) -> int:
    """Relabel the rows about which the model is sure; returns how many."""
    count = 0
    for number in suspects:
        mine, other = (float(predictions.probabilities[number, which[number]]) for which in (given, best))
        if other >= SURE and mine <= DOUBTFUL:
            label = predictions.names[best[number]]
            reason = f"model: {label} {other:.1%}, {predictions.names[given[number]]} {mine:.1%}"
            proposals.rename(checkup.rows[predictions.indices[number]], checkup.column, label, reason)
            count += 1
    return count


def pair_table(predictions: Predictions, suspects: np.ndarray, given: np.ndarray, best: np.ndarray) -> list[str]:
    """Which labels are confused most often among the suspects."""
    pairs = Counter((predictions.names[given[n]], predictions.names[best[n]]) for n in suspects)
    if not pairs:
        return []
    rows = [(*pair, count) for pair, count in pairs.most_common(PAIRS_SHOWN)]
    return ["", *table(["given label", "the model says", "images"], rows)]


def error_tile(checkup: Checkup, predictions: Predictions, number: int, given: np.ndarray, best: np.ndarray):
    """One suspect on the contact sheet: the given label and the model's."""
    chances = predictions.probabilities[number]
    said = f"model: {predictions.names[best[number]]} {chances[best[number]]:.0%}"
    index = int(predictions.indices[number])
    return checkup.tile(index, said, checkup.rows[index].title)


def accuracy_cell(hits: np.ndarray) -> str:
    """`92.1% [90.0, 93.8] of 1,203`, with Wilson's 95% interval (Wilson 1927, JASA 22, 209-212)."""
    if not len(hits):
        return "–"
    count, share = len(hits), float(hits.mean())
    spread = NORMAL_95**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return f"{share:.1%} [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}] of {count:,}"
