"""results/slash8.md from the units that were run: tables of the rows, the best one's classes, its figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from data_prep.pipeline.card import table
from evaluation.figures import confusion_figure, mistakes_figure
from evaluation.scoring import score
from studies.common.network import softmax
from studies.common.probe import NEIGHBORS, held_out_logits, held_out_neighbors
from studies.common.report import confusions, per_class_table, percent, save, write_page
from studies.common.units import Result, Unit, result_of
from studies.slash8.data import FOLDS, SlashData
from studies.slash8.rows import ENSEMBLES, PROBES, Row

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
    rows = {row.name: row for row in rows if row.name in done}
    logits = {name: in_order(done[name], data) for name in rows}
    scored: Scored = {}
    for name, given in logits.items():
        scored[name] = with_score(softmax(given[0]), data)
        scored[f"{name}, views"] = with_score(softmax(given).mean(axis=0), data)
    add_probes(scored, done, data)
    add_ensembles(scored, data)
    if not scored:
        return "nothing was run yet: no page"
    best = max(scored, key=lambda name: scored[name][1]["accuracy"]["value"])
    lines = [*introduction(data, done), *tables(rows, scored, logits, done), *about(best, scored, data)]
    write_page(results / "slash8.md", HEADING, lines)
    draw(best, scored[best], data, results / "runs" / "slash8_study")
    found = scored[best][1]
    return (
        f"best of {len(scored)}: {best}, accuracy {percent(found['accuracy'])}, macro-F1 {percent(found['macro_f1'])}"
    )


def finished(units: Sequence[Unit], runs: Path) -> dict[str, list[Result]]:
    """The results of the rows of which every unit was run, in the order of their parts."""
    results: dict[str, list[Result | None]] = {}
    for unit in units:
        results.setdefault(unit.row, []).append(result_of(unit, runs))
    return {row: found for row, found in results.items() if None not in found}


def in_order(folds: list[Result], data: SlashData) -> np.ndarray:
    """(views, rows, classes) float32 logits, each image's from the fold that held it out, in the order of data."""
    row_of = {identity: row for row, identity in enumerate(data.ids)}
    logits = np.concatenate([fold.arrays["logits"] for fold in folds], axis=1)
    order = [row_of[identity] for fold in folds for identity in fold.arrays["ids"].tolist()]
    whole = np.empty_like(logits)
    whole[:, order] = logits
    return whole


def with_score(probabilities: np.ndarray, data: SlashData) -> tuple[np.ndarray, dict]:
    return probabilities, score(probabilities, data.truth, data.groups, data.names)


def add_ensembles(scored: Scored, data: SlashData) -> None:
    for name, members in ENSEMBLES.items():
        if all(member in scored for member in members):
            scored[name] = with_score(np.mean([scored[member][0] for member in members], axis=0), data)


def add_probes(scored: Scored, done: dict[str, list[Result]], data: SlashData) -> None:
    """A linear classifier and nearest neighbours on features that were not trained for the task."""
    for name in (name for name in PROBES if name in done):
        features = done[name][0].arrays["embeddings"], data.truth, data.fold_of
        scored[f"{name}, linear"] = with_score(softmax(held_out_logits(*features)).mean(axis=0), data)
        scored[f"{name}, {NEIGHBORS} neighbours"] = with_score(held_out_neighbors(*features), data)


def introduction(data: SlashData, done: dict[str, list[Result]]) -> list[str]:
    counts = np.bincount(data.truth, minlength=len(data.names))
    machines = sorted({result.facts["machine"] for found in done.values() for result in found})
    minutes = sum(result.facts["seconds"] for found in done.values() for result in found) / 60
    classes = ", ".join(f"{name} {count}" for name, count in zip(data.names, counts.tolist(), strict=True))
    return [
        f"{len(data.ids)} product images of {data.screenshots} screenshots, data {data.fingerprint}: {classes}.",
        "",
        "    python -m data_prep.slash_screenshots --input screenshots/grid screenshots/single --output data/slash",
        "    python -m studies.slash8",
        "",
        f"Every figure is out of fold: {FOLDS} folds, images of one screenshot and near-duplicates in one fold, the "
        "last epoch's weights, seed 42. Brackets are 95% bootstrap intervals over screenshots. The best of so many "
        "rows is flattered a little by being the best.",
        f"The units took {minutes:.0f} minutes on {'; '.join(machines)}. Rows that were not run are absent.",
    ]


def tables(rows: dict, scored: Scored, logits: dict[str, np.ndarray], done: dict[str, list[Result]]) -> list[str]:
    lines = []
    header = ["row", "", "pixels", "epochs", "accuracy", "macro-F1", "accuracy, mean of views", "minutes"]
    for section, title in TITLES.items():
        cells = []
        for row in (row for row in rows.values() if row.section == section):
            plain, mean = scored[row.name][1], scored[f"{row.name}, views"][1]
            minutes = sum(result.facts["seconds"] for result in done[row.name]) / 60
            with_views = f"{percent(mean['accuracy'])}, {len(logits[row.name])} views"
            figures = [percent(plain["accuracy"]), percent(plain["macro_f1"]), with_views, f"{minutes:.1f}"]
            cells.append([row.name, row.what, row.size, row.epochs, *figures])
        if cells:
            lines += ["", f"## {title}", "", *table(header, cells)]
    others = [name for name in scored if name.removesuffix(", views") not in rows]
    if others:
        cells = [[name, *(percent(scored[name][1][key]) for key in ("accuracy", "macro_f1"))] for name in others]
        lines += ["", "## Without training, and together", "", *table(["row", "accuracy", "macro-F1"], cells)]
    return lines


def about(best: str, scored: Scored, data: SlashData) -> list[str]:
    probabilities, scores = scored[best]
    return [
        "",
        f"## The best: {best}",
        "",
        f"Expected calibration error {scores['expected_calibration_error']:.3f}. {by_screenshot(probabilities, data)}",
        "",
        *per_class_table(scores),
        "",
        "![confusion](runs/slash8_study/confusion.png)",
        "",
        "Most frequent mistakes: " + "; ".join(confusions(probabilities.argmax(axis=1), data.truth, data.names)) + ".",
    ]


def by_screenshot(probabilities: np.ndarray, data: SlashData) -> str:
    """A screenshot mostly shows one category: its images' mean answers for all of them. Another, easier task."""
    _, page = np.unique(data.rows()["page"], return_inverse=True)
    sums = np.zeros((page.max() + 1, probabilities.shape[1]))
    np.add.at(sums, page, probabilities)
    right = float((sums.argmax(axis=1)[page] == data.truth).mean())
    return (
        f"An easier task, and no figure of the table: where all images of a screenshot get the answer of their mean, "
        f"{right:.3f} of them are right."
    )


def draw(best: str, scored: tuple[np.ndarray, dict], data: SlashData, folder: Path) -> None:
    """confusion.png, and mistakes.png, which shows images that are not ours to publish: it stays out of git."""
    probabilities, _ = scored
    save(confusion_figure(probabilities.argmax(axis=1), data.truth, data.names), folder / "confusion.png")
    save(mistakes_figure(probabilities, data.truth, data.names, data.rows()), folder / "mistakes.png")
    plt.close("all")
