"""Fit and score what a model says of attributes: temperature, thresholds, accuracy, coverage, what is taken for what.

inputs = read_inputs(classifier, rows)                                # AttributeInputs(embeddings, colors)
held_out = AttributeAnswers(labels, logits, truth, groups)            # of one attribute, on a split
temperature, thresholds = fit_head(held_out, target_precision=0.95)
result = score_attribute(held_out, temperature)                       # with intervals, as validate.py writes them
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from app.attributes import Attributes
from app.classifier import BATCH_SIZE, Classifier
from app.errors import UserError
from app.images import ImageError
from app.probabilities import softmax
from data_prep.pipeline.schema import NOT_STATED
from evaluation.calibration import fit_temperature
from evaluation.predictions import encoded
from evaluation.scoring import score
from evaluation.thresholds import LevelAnswers, accepted, fit_level

CONFUSIONS = 8  # pairs that are shown
LEAST = 1e-30  # of a probability


@dataclass(frozen=True, slots=True, eq=False)
class AttributeInputs:
    """What attributes are read from. embeddings: (rows, dim) float32. colors: (rows, COLOR_INPUTS) float32."""

    embeddings: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class AttributeAnswers:
    """One attribute on the rows where it is stated. logits: (rows, labels) float64. truth: (rows,) names, which may be
    others than `labels`: a label that training did not have. groups: (rows,) names of duplicate groups."""

    labels: list[str]
    logits: np.ndarray
    truth: np.ndarray
    groups: np.ndarray

    def level(self, temperature: float) -> LevelAnswers:
        """The answers as thresholds.py takes them."""
        probabilities = softmax(self.logits / temperature)
        names = np.array(self.labels, dtype=object)[probabilities.argmax(axis=1)]
        return LevelAnswers(names, probabilities.max(axis=1), names == self.truth)


def read_inputs(classifier: Classifier, rows: Dataset, name: str = "") -> AttributeInputs:
    """Run the images of a split, undecoded rows. Raises UserError, which names them `name`."""

    def read(batch: list[bytes]) -> list[tuple[np.ndarray, np.ndarray]]:
        pixels = np.stack([classifier.read(image) for image in batch])
        return list(zip(classifier.run(pixels, ["embeddings"])[0], classifier.colors(pixels), strict=True))

    results = classifier.in_batches(encoded(rows, np.arange(len(rows))), BATCH_SIZE, read)
    try:
        embeddings, colors = zip(*tqdm(results, desc=name, total=len(rows), unit=" images", disable=None), strict=True)
    except ImageError as error:
        raise UserError(f"{name}: {error}") from error
    return AttributeInputs(np.stack(embeddings), np.stack(colors))


def stated(rows: Dataset, column: str) -> np.ndarray:
    """(rows,) the names in a label column, "" where the value is not stated."""
    names = [*rows.features[column].names, ""]  # -1, an unknown label, is the last one
    values = np.array(names, dtype=object)[np.asarray(rows[column])]
    return np.where(np.isin(values, (NOT_STATED, "")), "", values)


def answers_of(attributes: Attributes, logits: np.ndarray, rows: Dataset) -> dict[str, AttributeAnswers]:
    """By name, for the attributes of which the rows have a column. logits: (rows, labels of all attributes)."""
    groups = np.asarray(rows["group"])
    answers = {}
    for (name, head), of_head in zip(attributes.heads.items(), attributes.split(logits), strict=True):
        if name in rows.features and hasattr(rows.features[name], "names"):
            truth = stated(rows, name)
            known = truth != ""
            answers[name] = AttributeAnswers(head.labels, of_head[known], truth[known], groups[known])
    return answers


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logits of which the softmax with temperature 1 gives these probabilities again."""
    return np.log(np.maximum(probabilities, LEAST))


def fit_head(held_out: AttributeAnswers, target_precision: float) -> tuple[float, dict[str, float | None]]:
    """The temperature, and for each label the least confidence at which it is right so often; None if at none."""
    known = np.isin(held_out.truth, held_out.labels)
    truth = np.array([held_out.labels.index(name) for name in held_out.truth[known]], dtype=int)
    temperature = fit_temperature(held_out.logits[known], truth) if known.any() else 1.0
    return temperature, fit_level(held_out.level(temperature), set(held_out.labels), target_precision)


def score_attribute(answers: AttributeAnswers, temperature: float, seed: int = 42) -> dict:
    """Accuracy, top-2, macro-F1 and each label's scores, with intervals, and the calibration error."""
    names = [*answers.labels, *sorted(set(answers.truth) - set(answers.labels))]
    probabilities = np.zeros((len(answers.truth), len(names)))
    probabilities[:, : len(answers.labels)] = softmax(answers.logits / temperature)
    truth = np.array([names.index(name) for name in answers.truth])
    result = score(probabilities, truth, answers.groups, names, seed)
    second = np.argsort(-probabilities, axis=1)[:, :2]
    del result["top5"]
    return result | {"top2": round(float((second == truth[:, None]).any(axis=1).mean()), 5), "images": len(truth)}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of `rows` products so many have an answer that may be published, and so many of these are right."""

    target: float
    rows: int
    published: int
    right: int


def coverage(fitted_on: AttributeAnswers, judged: AttributeAnswers, targets: Sequence[float]) -> list[Coverage]:
    """What could be published at each promise if temperature and thresholds are set on other rows."""
    lines = []
    for target in targets:
        temperature, thresholds = fit_head(fitted_on, target)
        level = judged.level(temperature)
        passed = accepted(level, thresholds)
        lines.append(Coverage(target, len(passed), int(passed.sum()), int((passed & level.right).sum())))
    return lines


def confusions(answers: AttributeAnswers) -> list[tuple[str, str, int]]:
    """The pairs of labels that are taken for each other most often, and how often in both directions."""
    named = np.array(answers.labels, dtype=object)[answers.logits.argmax(axis=1)]
    pairs = Counter(
        tuple(sorted((true, answer))) for true, answer in zip(answers.truth, named, strict=True) if true != answer
    )
    return [(first, second, count) for (first, second), count in pairs.most_common(CONFUSIONS)]


def attribute_run(
    classifier: Classifier, probabilities: np.ndarray | None, rows: Dataset, seed: int
) -> dict[str, dict[str, dict]]:
    """What validate.py records of attributes: nothing for a model or a dataset that has none.

    probabilities: of all attributes, (rows, labels).
    """
    if classifier.attributes is None or probabilities is None:
        return {}
    answers = answers_of(classifier.attributes, log_probabilities(probabilities), rows)
    scores = {name: score_attribute(of_name, 1.0, seed) for name, of_name in answers.items() if len(of_name.truth)}
    return {"attributes": scores} if scores else {}
