"""Scores of a classifier's predictions with bootstrap intervals, and its calibration error; NumPy only.

The bootstrap (Efron 1979) draws duplicate groups, not rows: images of one product are not independent.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from app.taxonomy import Taxonomy

RESAMPLES = 1000
CALIBRATION_BINS = 15
TOP_K = 5


def score(
    probabilities: np.ndarray, truth: np.ndarray, groups: Sequence[str], names: Sequence[str], seed: int = 42
) -> dict:
    """Accuracy, top-5, macro-F1 and each class's precision, recall and F1, all with 95% intervals.

    probabilities: (rows, classes) float64. truth: (rows,) class ids. groups: each row's duplicate group. names: of the
    classes. seed: of the bootstrap.
    """
    weights = group_resamples(groups, truth, seed)
    predicted = probabilities.argmax(axis=1)
    hits, true, answered = class_counts(truth, predicted, weights, len(names))
    return {
        "accuracy": rate(predicted == truth, weights),
        "top5": rate(in_top_k(probabilities, truth), weights),
        "macro_f1": with_interval(macro_f1(hits, true, answered)),
        "expected_calibration_error": expected_calibration_error(probabilities, truth),
        "per_class": {
            name: {
                "images": int((truth == i).sum()),
                "precision": with_interval(divide(hits[:, i], answered[:, i])),
                "recall": with_interval(divide(hits[:, i], true[:, i])),
                "f1": with_interval(divide(2 * hits[:, i], true[:, i] + answered[:, i])),
            }
            for i, name in enumerate(names)
            if (truth == i).any()
        },
    }


def level_scores(
    taxonomy: Taxonomy, actual: Mapping[str, Sequence[str]], predicted: np.ndarray, weights: np.ndarray
) -> dict:
    """How often the predicted label's path is right at coarser levels.

    actual: by level the true category of each row. predicted: (rows,) class ids. weights: of group_resamples.
    """
    scores = {}
    for level, categories in actual.items():
        category_of_label = np.array(taxonomy.categories[taxonomy.levels.index(level)])
        scores[f"{level}_accuracy"] = rate(category_of_label[predicted] == np.asarray(categories), weights)
    return scores


def score_once(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy, top-5 and macro-F1 alone. scores: (rows, classes), probabilities or logits; truth: (rows,) ids."""
    predicted, classes = scores.argmax(axis=1), scores.shape[1]
    return {
        "accuracy": float((predicted == truth).mean()),
        "top5": float(in_top_k(scores, truth).mean()),
        "macro_f1": float(macro_f1(*class_counts(truth, predicted, np.ones((1, len(truth))), classes))[0]),
    }


def in_top_k(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(rows,) bool: whether the true class is among the TOP_K best."""
    k = min(TOP_K, scores.shape[1])
    return (np.argpartition(-scores, k - 1, axis=1)[:, :k] == truth[:, None]).any(axis=1)


def group_resamples(groups: Sequence[str], truth: np.ndarray, seed: int = 42) -> np.ndarray:
    """How often each row occurs in each sample: (1 + RESAMPLES, rows) float32; the first sample is the data itself.

    Groups are drawn class by class (a stratified bootstrap). Drawn all together, rare classes would be missing from
    most samples, and their low F1 with them: the interval of macro-F1 would lie above the score itself.
    """
    _, first_row, group_of_row = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    class_of_group = truth[first_row]
    draws = np.empty((RESAMPLES, len(first_row)), dtype=np.float32)
    generator = np.random.default_rng(seed)
    for label in np.unique(class_of_group):
        members = np.flatnonzero(class_of_group == label)
        draws[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), RESAMPLES)
    return np.vstack([np.ones((1, len(group_of_row)), dtype=np.float32), draws[:, group_of_row]])


def rate(hit: np.ndarray, weights: np.ndarray) -> dict:
    """The share of rows that are hits; hit: (rows,) bool."""
    return with_interval(weights @ hit.astype(np.float32) / weights.sum(axis=1))


def with_interval(samples: np.ndarray) -> dict:
    """`{"value", "interval": [low, high]}` of (1 + RESAMPLES,) scores, of which the first is the data's own.

    Samples in which a score is not defined (nan: none of a class's few images was drawn) do not count.
    """
    value, drawn = float(samples[0]), samples[1:][~np.isnan(samples[1:])]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    return {"value": none_if_nan(value), "interval": [none_if_nan(low), none_if_nan(high)]}


def none_if_nan(value: float) -> float | None:
    """JSON has no nan."""
    return None if np.isnan(value) else round(float(value), 5)


def class_counts(
    truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted true positives, true and predicted rows of each class: three (samples, classes) arrays."""
    is_true, is_predicted = np.eye(classes, dtype=np.float32)[truth], np.eye(classes, dtype=np.float32)[predicted]
    return weights @ (is_true * is_predicted), weights @ is_true, weights @ is_predicted


def macro_f1(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur in a sample as truth or prediction, as scikit-learn does: (samples,)."""
    return np.nanmean(divide(2 * hits, true + predicted), axis=1)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, nan where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> list[dict]:
    """Mean confidence, accuracy and number of rows in each bin of confidence that has rows."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bin_of_row = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
            "rows": int(inside.sum()),
        }
        for inside in (bin_of_row == i for i in range(CALIBRATION_BINS))
        if inside.any()
    ]


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The mean distance of confidence from accuracy over the bins, weighted by rows (Naeini et al. 2015)."""
    bins = reliability(probabilities, truth)
    return sum(abs(filled["confidence"] - filled["accuracy"]) * filled["rows"] for filled in bins) / len(truth)
