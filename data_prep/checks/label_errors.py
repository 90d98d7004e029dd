"""Likely label errors: images for which a model that never trained on them is certain of another label.

The predictions come from out-of-fold training (`oof.parquet` of train.py --folds, which covers train and validation) or
from a finished model folder (validation and test only: a model repeats the wrong labels it was trained on). cleanlab's
confident learning decides what stands out: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in
Dataset Labels, https://arxiv.org/abs/1911.00068.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.errors import UserError
from data_prep.checks.checkup import FINE, Checkup, Finding, Proposals, plural
from data_prep.checks.contact_sheet import Band, Tile
from data_prep.pipeline.card import table
from data_prep.pipeline.images import open_split
from data_prep.pipeline.out_of_fold import read_out_of_fold
from data_prep.pipeline.schema import Row

MIN_SHARE_KNOWN = 0.5  # of a column's classes: a model that knows fewer was trained for something else
MIN_CLASS_ROWS = 5  # cleanlab's thresholds mean nothing for a class with fewer
CERTAIN = 0.9  # least probability of another label, to propose it
DOUBTFUL = 0.02  # highest probability of the given label, to propose another
TILES = 36
PAIRS_SHOWN = 8


@dataclass(slots=True)
class Predictions:
    """What a model says about some rows.

    origin: where the predictions come from, for the report. covers: what they are about. names: the classes. indices:
    `(n,)`, of the rows in the checkup. probabilities: `(n, classes) float32`.
    """

    origin: str
    covers: str
    names: list[str]
    indices: np.ndarray
    probabilities: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """`(n,)` numbers of the most probable classes."""
        return self.probabilities.argmax(axis=1)

    def given(self, labels: Sequence[str]) -> np.ndarray:
        """`(n,)` class numbers of the rows' labels, -1 for a label that the model does not know."""
        position = {name: number for number, name in enumerate(self.names)}
        return np.array([position.get(labels[index], -1) for index in self.indices], dtype=np.int64)

    def hits(self, labels: Sequence[str]) -> np.ndarray:
        """`(n,) bool`: whether the most probable class is the row's label."""
        return self.given(labels) == self.best


# --- where predictions come from -------------------------------------------------------------------------------------


def load_model(folder: Path, column: str, rows: Sequence[Row]):
    """The Classifier of a model folder. Raises UserError unless it knows at least half of the column's classes."""
    from app.classifier import Classifier  # onnxruntime, which a report without a model does not need

    classifier = Classifier.load(folder)
    known = set(classifier.labels)
    share = {name: np.mean([label in known for label in {row.labels[name] for row in rows}]) for name in rows[0].labels}
    if share[column] < MIN_SHARE_KNOWN:
        best = max(share, key=share.get)
        fits = share[best] >= MIN_SHARE_KNOWN
        cure = f"--label {best} fits it" if fits else "give a model that was trained on this dataset"
        raise UserError(f"{folder} knows {', '.join(classifier.labels[:3])}, ..., not the classes of {column}; {cure}")
    return classifier


def predict(classifier, folder: Path, checkup: Checkup) -> Predictions:
    """A model's probabilities for validation and test, whether or not it would publish them."""
    indices = [index for split in ("validation", "test") for index in checkup.indices(split)]
    probabilities = np.zeros((len(indices), len(classifier.labels)), np.float32)
    images = (checkup.rows[index].image.read() for index in indices)
    stream = classifier.stream_scores(images)
    for number, scores in enumerate(tqdm(stream, "asking the model", len(indices), unit="image", disable=None)):
        if scores.error:
            raise UserError(f"{folder} cannot classify {checkup.rows[indices[number]].file}: {scores.error}")
        probabilities[number] = scores.probabilities
    origin = f"the model {folder}"
    return Predictions(origin, "validation and test", list(classifier.labels), np.array(indices, int), probabilities)


@dataclass(slots=True)
class HeldOut:
    """The out-of-fold predictions of a file, in which ids name the rows. probabilities: `(ids, names) float32`."""

    path: Path
    names: list[str]
    ids: list[str]
    probabilities: np.ndarray

    def of(self, checkup: Checkup) -> Predictions:
        """The predictions for the rows that are in the checkup."""
        position = {row.id: index for index, row in enumerate(checkup.rows)}
        indices = np.array([position.get(identity, -1) for identity in self.ids], dtype=np.int64)
        known = indices >= 0
        origin = f"out-of-fold training, {self.path}"
        return Predictions(origin, "out of fold", self.names, indices[known], self.probabilities[known])


def read_held_out(path: Path, folder: Path, column: str, rows: Sequence[Row]) -> HeldOut:
    """The predictions of an oof.parquet for the classes of a column. Raises UserError that names what is wrong."""
    names = open_split(folder, rows[0].split).features[column].names
    content = read_out_of_fold(path, names, columns=("id", "probabilities"))
    if not {row.id for row in rows}.intersection(content.ids):
        raise UserError(f"no id of {path} is in {folder}; was it made from another dataset?")
    return HeldOut(path, names, content.ids, content.probabilities)


# --- what stands out -------------------------------------------------------------------------------------------------


def find_suspects(predictions: Predictions, given: np.ndarray) -> tuple[np.ndarray, int]:
    """(suspects, skipped): positions in `predictions`, worst first, and how many rows were of classes too small or
    unknown to judge. given: see Predictions."""
    from cleanlab.filter import find_label_issues  # 2 s, paid by a report with predictions only

    counts = np.bincount(given[given >= 0], minlength=len(predictions.names))
    classes = np.flatnonzero(counts >= MIN_CLASS_ROWS)
    judged = np.flatnonzero(np.isin(given, classes))
    skipped = len(given) - len(judged)
    if len(classes) < 2:
        return np.array([], dtype=np.int64), skipped
    dense = predictions.probabilities[np.ix_(judged, classes)] + 1e-9
    dense /= dense.sum(axis=1, keepdims=True)
    ranked = find_label_issues(
        np.searchsorted(classes, given[judged]),
        dense,
        return_indices_ranked_by="normalized_margin",
        filter_by="both",
        n_jobs=1,
    )
    return judged[ranked], skipped


def describe_errors(checkup: Checkup, predictions: Predictions, proposals: Proposals) -> Finding:
    """The suspects with their contact sheet; those with a certain answer are proposed for relabelling."""
    given = predictions.given(checkup.labels())
    suspects, skipped = find_suspects(predictions, given)
    proposed = propose(checkup, predictions, suspects, given, proposals)
    judged = (
        f"{plural(len(given), 'image')} judged by {predictions.origin}, which agrees with "
        f"{accuracy_cell(given == predictions.best)} of the labels; found with cleanlab {version('cleanlab')}."
    )
    if skipped:
        judged += (
            f" {plural(skipped, 'image')} of classes with fewer than {MIN_CLASS_ROWS} images there, or unknown "
            "to the model, could not be judged."
        )
    rule = (
        f"{plural(proposed, 'image')} proposed: the model gives another label at least {CERTAIN:.0%} and the given one "
        f"at most {DOUBTFUL:.0%}. A person should look: the sheet shows the worst first."
    )
    lines = [judged, "", rule, *pair_table(predictions, suspects, given)]
    tiles = [error_tile(checkup, predictions, number) for number in suspects[:TILES]]
    advice = "look at the sheet, then apply relabel.csv" if len(suspects) else FINE
    title = f"Likely label errors in {checkup.column}, {predictions.covers}"
    return Finding(title, plural(len(suspects), "image"), advice, lines, "label_errors.png", [Band("", tiles)])


def propose(
    checkup: Checkup, predictions: Predictions, suspects: np.ndarray, given: np.ndarray, proposals: Proposals
) -> int:
    """Relabel the rows about which the model is certain; returns how many."""
    count = 0
    for number, best in zip(suspects, predictions.best[suspects], strict=True):
        given_share, best_share = predictions.probabilities[number, [given[number], best]].tolist()
        if best_share >= CERTAIN and given_share <= DOUBTFUL:
            label = predictions.names[best]
            reason = f"model: {label} {best_share:.1%}, {predictions.names[given[number]]} {given_share:.1%}"
            proposals.rename(checkup.rows[predictions.indices[number]], checkup.column, label, reason)
            count += 1
    return count


def pair_table(predictions: Predictions, suspects: np.ndarray, given: np.ndarray) -> list[str]:
    """Which labels are confused most often among the suspects."""
    names, best = predictions.names, predictions.best
    pairs = Counter((names[given[number]], names[best[number]]) for number in suspects)
    if not pairs:
        return []
    rows = [(*pair, count) for pair, count in pairs.most_common(PAIRS_SHOWN)]
    return ["", *table(["given label", "the model says", "images"], rows)]


def error_tile(checkup: Checkup, predictions: Predictions, number: int) -> Tile:
    """One suspect on the contact sheet: the given label and the model's."""
    best = predictions.best[number]
    answer = f"model: {predictions.names[best]} {predictions.probabilities[number, best]:.0%}"
    index = int(predictions.indices[number])
    return checkup.tile(index, answer, checkup.rows[index].title)


def accuracy_cell(hits: np.ndarray) -> str:
    """`92.1% [90.0, 93.8] of 1,203`, with Wilson's 95% interval."""
    from scipy.stats import binomtest  # a second, paid by a report with predictions only

    if not len(hits):
        return "–"
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{hits.mean():.1%} [{100 * low:.1f}, {100 * high:.1f}] of {len(hits):,}"
