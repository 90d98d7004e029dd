"""results/domain_gap.md from the units that were run: the matrix, what closes the gap, class by class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.pipeline.card import table
from evaluation.scoring import score
from studies.common.report import cost, heat_map, percent, write_page
from studies.common.units import Result, Unit, result_of
from studies.domain_gap.common_labels import COMMON, ON_PHOTOS, SHARED, TABLE, among
from studies.domain_gap.data import Source
from studies.domain_gap.rows import BATCH, LOWER, MATRIX, MODEL, SEED, UPPER, Row

HEADING = "# Clean images against real ones"
PHOTOS = "clothing"
NAMES = {"fashion_mnist": "Fashion-MNIST", "kaggle": "Kaggle catalogue", "clothing": "people's photos"}
FULL_FASHION_MNIST = 50_000


def write_results(
    sources: dict[str, Source], rows: Sequence[Row], units: Sequence[Unit], runs: Path, results: Path
) -> str:
    """Write the page and the heat map; gives one line for the screen."""
    done = {unit.row: result for unit in units if (result := result_of(unit, runs))}
    if not done:
        return "nothing was run yet: no page"
    matrix = matrix_scores(done, sources)
    rows = {row.name: row for row in rows if row.name in done}
    photos = photo_scores(rows, done, sources[PHOTOS])
    lines = [*introduction(done, sources), *matrix_lines(matrix), *gap_lines(rows, photos), *class_lines(photos)]
    write_page(results / "domain_gap.md", HEADING, [*lines, *mapping_lines()])
    draw(matrix, results / "runs" / "domain_gap" / "matrix.png")
    best = max(photos, key=lambda name: photos[name]["accuracy"]["value"])
    return f"best on photos of {len(photos)}: {best}, accuracy {percent(photos[best]['accuracy'])}"


def matrix_scores(done: dict[str, Result], sources: dict[str, Source]) -> dict[tuple[str, str], dict]:
    """Scores by (trained on, scored on), over the classes that every source has."""
    return {
        (row, name): scores(done[row].arrays[name], source, SHARED)
        for row in MATRIX
        if row in done
        for name, source in sources.items()
    }


def photo_scores(rows: dict[str, Row], done: dict[str, Result], photos: Source) -> dict[str, dict]:
    """Scores on people's photos over their ten classes, by row; adapted ones under a name of their own."""
    answers = {}
    for name, row in rows.items():
        answers[name] = done[name].arrays[PHOTOS]
        if row.adapted:
            answers[f"{name} + BatchNorm"] = done[name].arrays[f"{PHOTOS}_adapted"]
    return {name: scores(probabilities, photos, ON_PHOTOS) for name, probabilities in answers.items()}


def scores(probabilities: np.ndarray, source: Source, classes: list[str]) -> dict:
    """As a choice between `classes`, of the scored images that belong to one of them."""
    chosen, truth = among(probabilities, source.truth, classes)
    kept = np.isin(source.truth, [COMMON.index(name) for name in classes])
    groups = [group for group, keep in zip(source.groups, kept, strict=True) if keep]
    return score(chosen, truth, groups, classes)


def introduction(done: dict[str, Result], sources: dict[str, Source]) -> list[str]:
    cells = [
        [NAMES[name], source.fingerprint, f"{source.trained_on:,}", f"{len(source.truth):,}"]
        for name, source in sources.items()
    ]
    small = sources["fashion_mnist"].trained_on < FULL_FASHION_MNIST / 2
    return [
        "    python -m studies.domain_gap",
        "",
        *table(["source", "data", "images to learn from", "scored"], cells),
        "",
        *(["Fashion-MNIST is the sample of 900 images here, not the full set.", ""] if small else []),
        f"{MODEL} from ImageNet weights unless a row says otherwise, batches of {BATCH} images, seed {SEED}, the last "
        "step's weights; the rows of the first table have the same budget. Brackets are 95% bootstrap intervals over "
        "duplicate groups. Scored photos are the validation split, which no training saw. "
        f"{cost(done.values())}. Rows that were not run are absent.",
    ]


def trained_on(matrix: dict[tuple[str, str], dict]) -> list[str]:
    return [row for row in MATRIX if (row, PHOTOS) in matrix]


def matrix_lines(matrix: dict[tuple[str, str], dict]) -> list[str]:
    if not matrix:
        return []
    cells = []
    for row in trained_on(matrix):
        by_source = {name: matrix[row, name] for name in NAMES}
        others = [figures["accuracy"]["value"] for name, figures in by_source.items() if name != row]
        drop = by_source[row]["accuracy"]["value"] - np.mean(others)
        figures = [f"{percent(cell['accuracy'])}, F1 {percent(cell['macro_f1'])}" for cell in by_source.values()]
        cells.append([NAMES[row], *figures, f"{100 * drop:.1f}"])
    header = ["trained on", *NAMES.values(), "drop to the others"]
    return [
        "",
        f"## The gap: {len(SHARED)} classes that every source has",
        "",
        f"Accuracy and macro-F1 as a choice between {', '.join(SHARED)}.",
        "",
        *table(header, cells),
        "",
        "![matrix](runs/domain_gap/matrix.png)",
    ]


def gap_lines(rows: dict[str, Row], photos: dict[str, dict]) -> list[str]:
    """Each row's accuracy over the ten classes, and how much of the way from LOWER to UPPER it goes."""
    ends = [photos[name]["accuracy"]["value"] for name in (LOWER, UPPER) if name in photos]
    cells = []
    for name, figures in photos.items():
        row = rows[name.partition(" + ")[0]]
        closed = "–"  # other sizes are not part of the comparison
        if len(ends) == 2 and ends[0] != ends[1] and row.size == rows[LOWER].size:
            closed = f"{100 * (figures['accuracy']['value'] - ends[0]) / (ends[1] - ends[0]):.0f}%"
        what = "the same, statistics of the photos at test time" if "+" in name else row.what
        uses = "yes" if row.labeled_photos else "no"
        accuracy, macro_f1 = percent(figures["accuracy"]), percent(figures["macro_f1"])
        cells.append([name, what, row.size, row.steps, uses, accuracy, macro_f1, closed])
    header = ["row", "", "pixels", "batches", "labelled photos", "accuracy", "macro-F1", "gap closed"]
    return ["", f"## What closes it: people's photos, {len(ON_PHOTOS)} classes", "", *table(header, cells)]


def class_lines(photos: dict[str, dict]) -> list[str]:
    """Recall of each class, with a column per row of the study."""
    shown = list(photos)
    cells = [
        [name, *(f"{100 * photos[row]['per_class'][name]['recall']['value']:.0f}" for row in shown)]
        for name in ON_PHOTOS
        if name in photos[shown[0]]["per_class"]
    ]
    return ["", "## Recall of each class on people's photos, %", "", *table(["class", *shown], cells)]


def mapping_lines() -> list[str]:
    cells = [[name, *(", ".join(line.get(source, ["–"])) for source in NAMES)] for name, line in TABLE.items()]
    return ["", "## The common classes", "", *table(["class", *NAMES.values()], cells)]


def draw(matrix: dict[tuple[str, str], dict], path: Path) -> None:
    trained = trained_on(matrix)
    if trained:
        values = np.array([[matrix[row, name]["accuracy"]["value"] for name in NAMES] for row in trained])
        title = f"Accuracy over {len(SHARED)} common classes, %"
        heat_map(values, [NAMES[row] for row in trained], list(NAMES.values()), title, path)
