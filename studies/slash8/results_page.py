"""results/slash8.md from the units that were run: tables of the rows, the best one's classes, its figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from data_prep.pipeline.card import table
from evaluation.figures import confusion_figure, mistakes_figure
from evaluation.scoring import score
from studies.common.report import confusions, cost, per_class_table, percent, save, write_page
from studies.common.units import Result, Unit, result_of
from studies.slash8.data import FOLDS, SEED, SlashData
from studies.slash8.rows import ENSEMBLES, PROBES, Row
from training.frozen_head import NEIGHBORS, held_out_logits, held_out_neighbors

HEADING = "# Eight categories of a shopping app"
TITLES = {
    "architecture": "Architectures, all trained alike",
    "imbalance": "Imbalance: against the row mobilenet_v2 above",
    "lift": "What lifts the score",
}
Scored = dict[str, tuple[np.ndarray, dict]]  # name -> probabilities (rows, classes), scores of evaluation/scoring.py


def write_results(data: SlashData, rows: Sequence[Row], units: Sequence[Unit], runs: Path, results: Path) -> str:
    """Write the page and its figures; gives one line for the screen."""
    done = finished(units, runs)
    rows = [row for row in rows if row.name in done]
    scored = score_rows(rows, done, data)
    if not scored:
        return "nothing was run yet: no page"
    best = max(scored, key=lambda name: scored[name][1]["accuracy"]["value"])
    lines = [*introduction(data, done), *tables(rows, scored, done), *describe_best(best, *scored[best], data)]
    write_page(results / "slash8.md", HEADING, lines)
    draw(scored[best][0], data, results / "runs" / "slash8_study")
    scores = scored[best][1]
    figures = f"accuracy {percent(scores['accuracy'])}, macro-F1 {percent(scores['macro_f1'])}"
    return f"best of {len(scored)}: {best}, {figures}"


def finished(units: Sequence[Unit], runs: Path) -> dict[str, list[Result]]:
    """The results of the rows of which every unit was run, in the order of their parts."""
    results: dict[str, list[Result | None]] = {}
    for unit in units:
        results.setdefault(unit.row, []).append(result_of(unit, runs))
    return {row: parts for row, parts in results.items() if None not in parts}


def out_of_fold_logits(folds: Sequence[Result], data: SlashData) -> np.ndarray:
    """(views, rows, classes) float64 logits, each image's from the fold that held it out, in the order of the pool."""
    ids = np.concatenate([fold.arrays["ids"] for fold in folds]).tolist()
    place = {identity: number for number, identity in enumerate(ids)}
    logits = np.concatenate([fold.arrays["logits"] for fold in folds], axis=1, dtype=np.float64)
    return logits[:, [place[identity] for identity in data.pool.ids]]


def score_rows(rows: Sequence[Row], done: dict[str, list[Result]], data: SlashData) -> Scored:
    """The trained rows with one view and with all, the classifiers on untrained features, and means of these."""
    probabilities: dict[str, np.ndarray] = {}
    for row in rows:
        by_view = softmax(out_of_fold_logits(done[row.name], data), axis=-1)
        probabilities |= {row.name: by_view[0], f"{row.name}, views": by_view.mean(axis=0)}
    for name in (name for name in PROBES if name in done):
        features = done[name][0].arrays["embeddings"], data.pool.labels, data.pool.fold_of
        probabilities[f"{name}, linear"] = softmax(held_out_logits(*features), axis=-1).mean(axis=0)
        probabilities[f"{name}, {NEIGHBORS} neighbours"] = held_out_neighbors(*features)
    for name, members in ENSEMBLES.items():
        if probabilities.keys() >= set(members):
            probabilities[name] = np.mean([probabilities[member] for member in members], axis=0)
    pool = data.pool
    return {name: (p, score(p, pool.labels, pool.groups, pool.names)) for name, p in probabilities.items()}


def introduction(data: SlashData, done: dict[str, list[Result]]) -> list[str]:
    pool = data.pool
    counts = np.bincount(pool.labels, minlength=len(pool.names)).tolist()
    classes = ", ".join(f"{name} {count}" for name, count in zip(pool.names, counts, strict=True))
    return [
        f"{len(pool.ids)} product images of {data.screenshots} screenshots, data {data.fingerprint}: {classes}.",
        "",
        "    python -m data_prep.slash_screenshots --input screenshots/grid screenshots/single --output data/slash",
        "    python -m studies.slash8",
        "",
        f"Every figure is out of fold: {FOLDS} folds, images of one screenshot and near-duplicates in one fold, the "
        f"last epoch's weights, seed {SEED}. Brackets are 95% bootstrap intervals over screenshots. The best of so "
        "many rows is flattered a little by being the best.",
        f"The units took {cost(result for parts in done.values() for result in parts)}. Rows that were not run are "
        "absent.",
    ]


def tables(rows: Sequence[Row], scored: Scored, done: dict[str, list[Result]]) -> list[str]:
    lines = []
    header = ["row", "", "pixels", "epochs", "accuracy", "macro-F1", "accuracy, mean of views", "minutes"]
    for section, title in TITLES.items():
        cells = [table_row(row, scored, done[row.name]) for row in rows if row.section == section]
        if cells:
            lines += ["", f"## {title}", "", *table(header, cells)]
    trained = {row.name for row in rows}
    cells = [
        [name, percent(scores["accuracy"]), percent(scores["macro_f1"])]
        for name, (_, scores) in scored.items()
        if name.removesuffix(", views") not in trained
    ]
    if cells:
        lines += ["", "## Without training, and together", "", *table(["row", "accuracy", "macro-F1"], cells)]
    return lines


def table_row(row: Row, scored: Scored, folds: Sequence[Result]) -> list:
    (_, plain), (_, mean) = scored[row.name], scored[f"{row.name}, views"]
    with_views = f"{percent(mean['accuracy'])}, {len(folds[0].arrays['logits'])} views"
    minutes = sum(fold.facts["seconds"] for fold in folds) / 60
    figures = [percent(plain["accuracy"]), percent(plain["macro_f1"]), with_views, f"{minutes:.1f}"]
    return [row.name, row.what, row.size, row.epochs, *figures]


def describe_best(name: str, probabilities: np.ndarray, scores: dict, data: SlashData) -> list[str]:
    mistakes = confusions(probabilities.argmax(axis=1), data.pool.labels, data.pool.names)
    return [
        "",
        f"## The best: {name}",
        "",
        f"Expected calibration error {scores['expected_calibration_error']:.3f}. {by_screenshot(probabilities, data)}",
        "",
        *per_class_table(scores),
        "",
        "![confusion](runs/slash8_study/confusion.png)",
        "",
        f"Most frequent mistakes: {'; '.join(mistakes)}.",
    ]


def by_screenshot(probabilities: np.ndarray, data: SlashData) -> str:
    """A screenshot mostly shows one category: the mean of its images' answers for all of them. Another, easier task."""
    _, page = np.unique(data.rows()["page"][:], return_inverse=True)
    sums = np.zeros((page.max() + 1, probabilities.shape[1]))
    np.add.at(sums, page, probabilities)
    right = float((sums.argmax(axis=1)[page] == data.pool.labels).mean())
    return (
        f"An easier task, which no table contains: where all images of a screenshot get the answer of their mean, "
        f"{right:.3f} of them are right."
    )


def draw(probabilities: np.ndarray, data: SlashData, folder: Path) -> None:
    """confusion.png, and mistakes.png, which shows images that are not ours to publish: it stays out of git."""
    truth, names = data.pool.labels, data.pool.names
    save(confusion_figure(probabilities.argmax(axis=1), truth, names), folder / "confusion.png")
    save(mistakes_figure(probabilities, truth, names, data.rows()), folder / "mistakes.png")
