"""How confident an answer must be to be right often enough: a threshold per category of each taxonomy level.

    thresholds = fit_thresholds(taxonomy, probabilities, truth, target=0.99)     # {level: {category: 0.93 or None}}

A threshold holds when the exact upper bound (Clopper and Pearson 1934) of the error rate of the answers above it stays
within 1 - target: learn then test (Angelopoulos et al. 2021). A category with enough images of its own gets its own;
the others share one, which is raised where a category's own images contradict it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from app.taxonomy import Taxonomy

RISK = 0.1  # the chance that a bound does not hold
KIND_RISK = 0.3  # the same for one kind of image among several, which often has few
EVEN = 0.5  # of a bound that is as likely too low as too high
RESAMPLES = 50
MIN_ANSWERS = 5  # fewer answers above a threshold are not evidence against it
ROUNDING = 1e-6  # thresholds lie this much below the confidence that they let pass

Thresholds = dict[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True, eq=False)
class LevelAnswers:
    """The answers at one level: (rows,) category names, confidences in [0, 1], and whether each is right."""

    category: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    def rows(self, chosen: np.ndarray) -> "LevelAnswers":
        """chosen: (rows,) bool."""
        return LevelAnswers(self.category[chosen], self.confidence[chosen], self.right[chosen])


def answers(
    taxonomy: Taxonomy,
    probabilities: np.ndarray,
    truth: np.ndarray,
    depth: int,
    members: np.ndarray | None = None,
) -> LevelAnswers:
    """What the model answers at a level: the category with the largest sum of probabilities.

    probabilities: (rows, labels) float64, calibrated. truth, members: as in SplitOutputs; a category is right if one of
    its labels is.
    """
    nodes = taxonomy.nodes[depth]
    sums = probabilities @ np.eye(nodes.max() + 1)[nodes]
    best = sums.argmax(axis=1)
    names = np.empty(nodes.max() + 1, dtype=object)
    names[nodes] = taxonomy.categories[depth]
    if members is None:
        right = best == nodes[truth]
    else:
        right = (members.astype(int) @ np.eye(nodes.max() + 1, dtype=int)[nodes] > 0)[truth, best]
    return LevelAnswers(names[best], np.minimum(1.0, sums.max(axis=1)), right)


def fit_thresholds(
    taxonomy: Taxonomy,
    probabilities: np.ndarray,
    truth: np.ndarray,
    target: float,
    members: np.ndarray | None = None,
    kind_of: np.ndarray | None = None,
) -> Thresholds:
    """For each level the threshold of each category; None where no confidence reaches the target.

    kind_of: (rows,) int, the kind of each image, where there are several: the target holds for all of them together,
    and none of them speaks against it.
    """
    thresholds = {}
    for depth, level in enumerate(taxonomy.levels):
        answered = answers(taxonomy, probabilities, truth, depth, members)
        fitted = fit_level(answered, set(taxonomy.categories[depth]), target)
        if kind_of is not None:
            fitted = raise_for_kinds(answered, fitted, target, kind_of)
        thresholds[level] = fitted
    return thresholds


def raise_for_kinds(
    level: LevelAnswers, thresholds: dict[str, float | None], target: float, kind_of: np.ndarray
) -> dict[str, float | None]:
    """Thresholds of at least what it takes for each kind to hold the target, at KIND_RISK that it does not.

    Categories in which a kind has no wrong answer stay as they are. A kind with too few images to show that it holds
    only must not speak against it.
    """
    for kind in np.unique(kind_of):
        own = level.rows(kind_of == kind)
        own = own.rows(accepted(own, thresholds))
        doubtful = np.isin(own.category.astype(str), np.unique(own.category[~own.right].astype(str)))
        floors = [0.0, *np.unique(own.confidence[~own.right]) + ROUNDING]
        passed = [~doubtful | (own.confidence >= floor) for floor in floors]
        wrong, counts = ([int((rows & of).sum()) for rows in passed] for of in (~own.right, np.ones_like(own.right)))
        proven = upper_bound(np.array(wrong), np.array(counts), KIND_RISK) <= 1 - target
        likely = [lower_bound(*numbers, EVEN) <= 1 - target for numbers in zip(wrong, counts, strict=True)]
        enough = proven if proven.any() else likely  # above the last wrong answer nothing speaks against it
        thresholds = raised_to(thresholds, floors[int(np.argmax(enough))], set(own.category[doubtful]))
    return thresholds


def raised_to(thresholds: Mapping[str, float | None], floor: float, names: set[str]) -> dict[str, float | None]:
    """The thresholds of these categories at the floor or above; None above 1, which no confidence reaches."""
    raised = dict(thresholds)
    for name in names:
        least = raised[name]
        raised[name] = None if least is None or max(least, floor) > 1 else max(least, floor)
    return raised


def shared_interval(level: LevelAnswers, target: float) -> list[float | None]:
    """The 90% interval of the lowest threshold for all categories alike, by bootstrap; None where there is none."""
    generator = np.random.default_rng(0)
    lowest = []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(level.right), len(level.right))
        found = candidates(level.confidence[rows], level.right[rows], target)
        lowest.append(found[0] if found else np.inf)
    low, high = np.quantile(lowest, [0.05, 0.95], method="nearest")
    return [float(value) if np.isfinite(value) else None for value in (low, high)]


def fit_level(level: LevelAnswers, categories: set[str], target: float) -> dict[str, float | None]:
    """The categories' thresholds; the shared one rises until all answers together hold the target."""
    shared = candidates(level.confidence, level.right, target)
    for threshold in shared:
        thresholds = {name: fit_category(level, name, threshold, target) for name in sorted(categories)}
        passed = accepted(level, thresholds)
        if holds(int((~level.right[passed]).sum()), int(passed.sum()), target):
            return thresholds
    return dict.fromkeys(sorted(categories))


def fit_category(level: LevelAnswers, name: str, shared: float, target: float) -> float | None:
    """A category's own threshold if its images prove one, else the shared one or what they do not contradict."""
    answered = level.category == name
    confidence, right = level.confidence[answered], level.right[answered]
    if own := candidates(confidence, right, target):
        return own[0]
    for threshold in [shared, *np.unique(confidence[confidence > shared])]:
        above = confidence >= threshold
        wrong, count = int((~right[above]).sum()), int(above.sum())
        if count < MIN_ANSWERS or lower_bound(wrong, count) <= 1 - target:
            return float(threshold)
    return None


def candidates(confidence: np.ndarray, right: np.ndarray, target: float) -> list[float]:
    """The thresholds that hold the target, lowest first; equal confidences stand or fall together."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    last_of_equals = np.append(np.diff(confidence[order]) < 0, True)[: len(order)]
    count = np.arange(1, len(order) + 1)
    good = last_of_equals & (upper_bound(wrong, count) <= 1 - target)
    return [max(0.0, float(value) - ROUNDING) for value in confidence[order][good][::-1]]


def accepted(level: LevelAnswers, thresholds: Mapping[str, float | None]) -> np.ndarray:
    """(rows,) bool: whose confidence reaches the threshold of its category."""
    least = np.array([np.inf if thresholds[name] is None else thresholds[name] for name in level.category])
    return level.confidence >= least


def holds(wrong: int, count: int, target: float, risk: float = RISK) -> bool:
    return count > 0 and bool(upper_bound(np.array(wrong), np.array(count), risk) <= 1 - target)


def upper_bound(wrong: np.ndarray, count: np.ndarray, risk: float = RISK) -> np.ndarray:
    """The largest error rate that `wrong` wrong answers of `count` do not rule out."""
    return np.where(wrong >= count, 1.0, beta.ppf(1 - risk, wrong + 1, np.maximum(count - wrong, 1)))


def lower_bound(wrong: int, count: int, risk: float = RISK) -> float:
    """The smallest error rate that `wrong` wrong answers of `count` do not rule out."""
    return 0.0 if wrong == 0 else float(beta.ppf(risk, wrong, count - wrong + 1))
