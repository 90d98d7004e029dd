"""The scores of the zoo's rows: on the same images, each by the folds that were trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from evaluation.leaderboard import SIGNIFICANCE, exact_mcnemar
from evaluation.scoring import score
from studies.common.units import Result, Unit, result_of
from studies.zoo.tasks import Task
from studies.zoo.training import Plan


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """A row on a task. scores: of evaluation/scoring.py. right: (rows,) bool on the task's scored images.

    accuracy_at: by percent of the budget. folds: results of the units.
    """

    name: str
    scores: dict
    right: np.ndarray
    accuracy_at: dict[int, float]
    folds: Sequence[Result]

    @property
    def facts(self) -> dict:
        """Of the first fold, which also has the graph's."""
        return self.folds[0].facts

    @property
    def accuracy(self) -> float:
        return self.scores["accuracy"]["value"]

    @property
    def images_seen(self) -> int:
        return self._sum("images_seen")

    @property
    def passes(self) -> float:
        """How often each training image was seen."""
        return self.images_seen / self._sum("training_images")

    @property
    def minutes(self) -> float:
        return self._sum("budget_minutes")

    @property
    def training_rate(self) -> float:
        """Images per second of the budget."""
        return self.images_seen / (60 * self.minutes)

    @property
    def joules(self) -> float | None:
        known = [fold.facts["joules"] for fold in self.folds]
        return None if None in known else sum(known)

    def p_value(self, other: "ScoredRow") -> float:
        return exact_mcnemar(self.right, other.right)

    def _sum(self, fact: str) -> float:
        return sum(fold.facts[fact] for fold in self.folds)


def score_task(task: Task, share: int, units: Mapping[Plan, Unit], runs: Path) -> dict[str, ScoredRow]:
    """The rows of which every fold was run with this share of the data, the best accuracy first."""
    results: dict[str, list[Result | None]] = {}
    for plan, unit in units.items():
        if plan.task == task.name and plan.share == share:
            results.setdefault(plan.row.name, []).append(result_of(unit, runs))
    rows = [score_row(name, folds, task) for name, folds in results.items() if None not in folds]
    return {row.name: row for row in sorted(rows, key=lambda row: -row.accuracy)}


def score_row(name: str, folds: Sequence[Result], task: Task) -> ScoredRow:
    pool, rows = task.pool, task.scored()
    place = {identity: number for number, identity in enumerate(np.concatenate([f.arrays["ids"] for f in folds]))}
    order = [place[pool.ids[row]] for row in rows]
    truth = pool.labels[rows]
    logits = np.concatenate([fold.arrays["logits"] for fold in folds]).astype(np.float64)[order]
    scores = score(softmax(logits, axis=1), truth, np.asarray(pool.groups)[rows], pool.names)
    points = set.intersection(*(set(fold.arrays["percent"].tolist()) for fold in folds))
    accuracy_at = {}
    for point in sorted(points):
        parts = [fold.arrays["predicted"][fold.arrays["percent"].tolist().index(point)] for fold in folds]
        accuracy_at[point] = float((np.concatenate(parts)[order] == truth).mean())
    return ScoredRow(name, scores, logits.argmax(axis=1) == truth, accuracy_at, folds)


def not_told_apart(rows: Mapping[str, ScoredRow]) -> list[ScoredRow]:
    """The best row and those that McNemar's test does not tell from it. rows: the best first."""
    best = next(iter(rows.values()))
    return [row for row in rows.values() if row is best or row.p_value(best) >= SIGNIFICANCE]
