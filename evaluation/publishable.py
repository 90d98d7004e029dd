"""What a model can publish at several promises, measured by cross-fitting: no image is judged by what it helped to set.

rows = publishable(taxonomy, held_out)                # Publishable(level="articleType", target=0.99, …)
lines = publishable_table(rows)
suggestion(rows, "articleType", error_budget=0.01)    # the target that publishes most within the budget
least_budget(rows, "articleType")                     # where none does: what it would take
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.stats import binomtest
from sklearn.model_selection import GroupKFold

from app.taxonomy import Taxonomy
from evaluation.calibration import HeldOut, fit_softmax
from evaluation.thresholds import accepted, answers, fit_thresholds

TARGETS = (0.90, 0.95, 0.98, 0.99)
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Publishable:
    """Of `rows` images of a kind so many were published at a level, and of these so many right."""

    kind: str
    level: str
    target: float
    rows: int
    published: int
    right: int


def publishable(
    taxonomy: Taxonomy, held_out: HeldOut, targets: Sequence[float] = TARGETS, known: np.ndarray | None = None
) -> list[Publishable]:
    """For each target, level and kind. known: (rows,) bool over all kinds, which are not called unknown."""
    images, kind_of = held_out.pooled()
    known = np.ones(len(kind_of), dtype=bool) if known is None else known
    passed = np.zeros((len(targets), len(taxonomy.levels), len(kind_of)), dtype=bool)
    right = np.zeros_like(passed)
    folds = min(FOLDS, len(np.unique(images.groups)))
    if folds < 2:
        return []
    for learned, judged in GroupKFold(folds, shuffle=True, random_state=0).split(kind_of, groups=images.groups):
        part, rest = images.rows(learned), images.rows(judged)
        softmax = fit_softmax(part, kind_of[learned])
        of_part, of_rest = softmax(part.logits), softmax(rest.logits)
        answered = [
            answers(taxonomy, of_rest, rest.truth, depth, rest.members) for depth in range(len(taxonomy.levels))
        ]
        for number, target in enumerate(targets):
            fitted = fit_thresholds(taxonomy, of_part, part.truth, target, part.members, kind_of[learned])
            for depth, level in enumerate(taxonomy.levels):
                passed[number, depth, judged] = accepted(answered[depth], fitted[level]) & known[judged]
                right[number, depth, judged] = answered[depth].right
    return [
        Publishable(
            kind,
            level,
            target,
            int((kind_of == which).sum()),
            int((passed[number, depth] & (kind_of == which)).sum()),
            int((passed[number, depth] & right[number, depth] & (kind_of == which)).sum()),
        )
        for number, target in enumerate(targets)
        for depth, level in enumerate(taxonomy.levels)
        for which, kind in enumerate(held_out.kinds)
    ]


def publishable_table(rows: Sequence[Publishable]) -> list[str]:
    """A table in Markdown."""
    lines = ["| images | level | promise | published | right among them |", "|---|---|---|---|---|"]
    for row in rows:
        published, right = with_interval(row.published, row.rows), with_interval(row.right, row.published)
        lines.append(f"| {row.kind} | {row.level} | {row.target:.0%} | {published} | {right} |")
    return lines


def with_interval(hits: int, count: int) -> str:
    """A share with its 95% interval (Wilson)."""
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.1%} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def suggestion(rows: Sequence[Publishable], level: str, error_budget: float) -> float | None:
    """The target that publishes most at a level while at most this share of each kind is published wrong;
    None where no target does."""
    within: dict[float, int] = {}
    for target in {row.target for row in rows}:
        mine = [row for row in rows if row.target == target and row.level == level]
        if all(row.published - row.right <= error_budget * row.rows for row in mine):
            within[target] = sum(row.published for row in mine)
    published = {target: count for target, count in within.items() if count}
    return max(published, key=lambda target: (published[target], target)) if published else None


def least_budget(rows: Sequence[Publishable], level: str) -> float | None:
    """The smallest error budget, in thousandths, with which a target is suggested; None if nothing is published."""
    most_wrong: dict[float, float] = {}
    for row in rows:
        if row.level == level and row.rows:
            wrong = (row.published - row.right) / row.rows
            most_wrong[row.target] = max(wrong, most_wrong.get(row.target, 0.0))
    published = {row.target for row in rows if row.level == level and row.published}
    return min((ceil(round(1000 * most_wrong[target], 6)) / 1000 for target in published), default=None)
