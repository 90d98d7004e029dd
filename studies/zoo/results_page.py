"""results/zoo.md from the units that were run: a table per task, accuracy against compute, what wins when."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.pipeline.card import table
from studies.common.report import cost, percent, write_page
from studies.common.units import Unit
from studies.zoo.curves import draw_curves
from studies.zoo.rows import ROWS
from studies.zoo.scores import ScoredRow, not_told_apart, score_task
from studies.zoo.tasks import KAGGLE, SHARES, TITLES, Task
from studies.zoo.training import Plan

HEADING = "# The zoo: architectures on the same budget of compute"
IN_WORDS = """

## In words

<!-- Written by hand; everything below the table's end stays when the page is written again. -->
"""
ON_CPU = (
    "Of 64 to 224 pixels (DINOv2's are multiples of 14) the largest whose training shows every image often enough, "
    "by the speeds at 96 pixels in studies/slash8/rows.py; how often is PASSES in studies/zoo/rows.py."
)
ON_GPU = "The size that the architecture is known for, as far as the images have so many pixels."
NO_VALUE = "–"
Scored = dict[str, dict[int, dict[str, ScoredRow]]]  # task -> share of the data -> row


def write_results(tasks: Mapping[str, Task], units: Mapping[Plan, Unit], runs: Path, results: Path) -> str:
    """Write the page and its figure; gives one line for the screen."""
    scored = {name: {share: score_task(task, share, units, runs) for share in SHARES} for name, task in tasks.items()}
    whole = {name: by_share[SHARES[-1]] for name, by_share in scored.items()}
    if not any(whole.values()):
        return "nothing was run yet with this budget: no page"
    lines = introduction(tasks, whole)
    for name, task in tasks.items():
        lines += ["", f"## {TITLES[name]}", "", *described(task), "", *task_lines(whole[name])]
    lines += [*curve_lines(whole), *size_lines(units, whole), *data_lines(scored), *winners(whole)]
    path = results / "zoo.md"
    write_page(path, HEADING, lines, below=IN_WORDS)
    draw_curves(whole, budget_name(whole), results / "runs" / "zoo_study" / "curve.png")
    return f"{sum(map(len, whole.values()))} rows of {len(ROWS) * len(tasks)} in {path}"


def budget_name(whole: Mapping[str, dict[str, ScoredRow]]) -> str:
    """`core-minutes`, or of a GPU."""
    return "core-minutes" if any_row(whole).facts["device"] == "cpu" else "GPU-minutes"


def any_row(whole: Mapping[str, dict[str, ScoredRow]]) -> ScoredRow:
    return next(row for rows in whole.values() for row in rows.values())


def introduction(tasks: Mapping[str, Task], whole: Mapping[str, dict[str, ScoredRow]]) -> list[str]:
    rows = [row for by_name in whole.values() for row in by_name.values()]
    commands = dict.fromkeys(fold.facts["command"] for row in rows for fold in row.folds)
    devices = {row.facts["device"] for row in rows} - {"cpu"}
    minutes = any_row(whole).facts["made_by"]["minutes"]
    data = ", ".join(f"{name} {task.fingerprint}" for name, task in tasks.items())
    return [
        f"Every row had {minutes:g} {budget_name(whole)} for each task, all folds together, and spent them on training "
        "by train.py's defaults: the model's learning rate of models/registry.py, warm-up and half a cosine over the "
        "budget, the last weights, none chosen by its score. What follows from that: a cheap network sees many images, "
        "a costly one few.",
        "",
        *(f"    {command}" for command in commands),
        "",
        f"Seed {rows[0].facts['seed']}; data {data}; "
        f"{cost(fold for row in rows for fold in row.folds)}{'; ' + ', '.join(devices) if devices else ''}. Brackets "
        "are 95% bootstrap intervals over duplicate groups. p is McNemar's exact test against the best row on the "
        "same images, not corrected for the number of rows; from 0.05 on the two are not told apart. The best of so "
        "many rows is flattered a little by being the best. No test split was looked at.",
        f"Images/s: onnxruntime on the machine's cores, one image at a time. MB: the graph. {energy_note(rows)}",
    ]


def energy_note(rows: Sequence[ScoredRow]) -> str:
    if all(row.joules is None for row in rows):
        return "Energy: not measured, since the machine does not tell (neither RAPL nor nvidia-smi)."
    return (
        "Energy: of the trainings with their answers, by the counters of the whole processor or the GPU's power, which "
        "other trainings at the same time share."
    )


def described(task: Task) -> list[str]:
    images = f"{len(task.scored()):,} images"
    if task.name == KAGGLE:
        return [f"Scored on the validation split, {images} that nothing was trained on or chosen by."]
    return [f"{images}, each answered out of fold: {len(task.folds)} folds, which tear no screenshot apart."]


def task_lines(rows: Mapping[str, ScoredRow]) -> list[str]:
    """The table, the best accuracy first, and the rows that were not run."""
    unit = "GPU-minutes" if rows and next(iter(rows.values())).facts["device"] != "cpu" else "core-minutes"
    header = ["row", "weights", "px", "accuracy", "macro-F1", "p", "MB", "images/s", "images seen", "passes", unit]
    header += ["energy", "training images/s"]
    best = next(iter(rows.values()), None)
    lines = table(header, [cells(row, best) for row in rows.values()]) if rows else []
    missing = [row.name for row in ROWS if row.name not in rows]
    return [*lines, *(["", f"Not run: {', '.join(missing)}."] if missing else [])]


def cells(row: ScoredRow, best: ScoredRow) -> list[str]:
    facts = row.facts
    figures = [percent(row.scores["accuracy"]), percent(row.scores["macro_f1"])]
    p_value = NO_VALUE if row is best else f"{row.p_value(best):.2g}"
    rate = f"{row.training_rate:.0f}"
    if "model_only_images_per_second" in facts:
        rate += f" of {facts['model_only_images_per_second']:.0f} (network alone)"
    return [
        *(row.name, "pretrained" if facts["weights"] else "from scratch", str(facts["size"]), *figures, p_value),
        *(number(facts["graph_megabytes"], 1), number(facts["graph_images_per_second"], 0)),
        *(f"{row.images_seen:,}", f"{row.passes:.1f}", f"{row.minutes:.1f}"),
        "not measured" if row.joules is None else f"{row.joules / 3600:.2f} Wh",
        rate,
    ]


def number(value: float | None, digits: int) -> str:
    return NO_VALUE if value is None else f"{value:.{digits}f}"


def curve_lines(whole: Mapping[str, dict[str, ScoredRow]]) -> list[str]:
    """Accuracy after a quarter, half and all of the budget."""
    lines = ["", "## Accuracy against compute", "", "![accuracy against compute](runs/zoo_study/curve.png)", ""]
    lines += [
        "All points of a row are of one training, whose learning rate is still high at a quarter and at half of the "
        "budget: a training that ends there would be better than its point.",
    ]
    for name, rows in whole.items():
        points = sorted({point for row in rows.values() for point in row.accuracy_at})
        header = [TITLES[name], *(f"{point}%" for point in points)]
        body = [
            [row.name, *(f"{100 * row.accuracy_at[p]:.1f}" if p in row.accuracy_at else NO_VALUE for p in points)]
            for row in rows.values()
        ]
        lines += ["", *table(header, body)] if rows else []
    return lines


def size_lines(units: Mapping[Plan, Unit], whole: Mapping[str, dict[str, ScoredRow]]) -> list[str]:
    """The input size of every row, also of those that were not run, and the reason for it."""
    plans = {(plan.row.name, plan.task): plan for plan in units}
    body = [
        [row.name, *(f"{plans[row.name, task].size.pixels}: {plans[row.name, task].size.reason}" for task in whole)]
        for row in ROWS
    ]
    intro = ON_GPU if budget_name(whole) == "GPU-minutes" else ON_CPU
    return ["", "## Input sizes", "", intro, "", *table(["row", *(TITLES[task] for task in whole)], body)]


def data_lines(scored: Scored) -> list[str]:
    """Learning curves of the rows that were also trained on parts of the data."""
    body = [
        [TITLES[name], row, *(percent(of[row].scores["accuracy"]) if row in of else NO_VALUE for of in shares.values())]
        for name, shares in scored.items()
        for row in shares[SHARES[-1]]
        if any(row in shares[share] for share in SHARES[:-1])
    ]
    if not body:
        return []
    header = ["", "row", *(f"{share}% of the data" for share in SHARES)]
    return ["", "## With less data", "", "The same budget, size and seed.", "", *table(header, body)]


def winners(whole: Mapping[str, dict[str, ScoredRow]]) -> list[str]:
    """What wins when, computed; the prose is a person's."""
    lines = ["", "## What wins when", ""]
    for name, rows in whole.items():
        if not rows:
            continue
        best, *_ = rows.values()
        alike = not_told_apart(rows)
        facts = [f"best {best.name}, {100 * best.accuracy:.1f}%"]
        facts += [f"not told apart from it: {', '.join(row.name for row in alike if row is not best) or 'none'}"]
        with_graph = [row for row in alike if row.facts["graph_megabytes"] is not None]
        if with_graph:
            smallest = min(with_graph, key=lambda row: row.facts["graph_megabytes"])
            fastest = max(with_graph, key=lambda row: row.facts["graph_images_per_second"])
            facts += [f"the smallest of these {smallest.name} ({smallest.facts['graph_megabytes']:.1f} MB)"]
            facts += [f"the fastest {fastest.name} ({fastest.facts['graph_images_per_second']:.0f} images/s)"]
        for what, chosen in (("pretrained", True), ("from scratch", False)):
            first = next((row for row in rows.values() if (row.facts["weights"] is not None) == chosen), None)
            facts += [f"best {what} {first.name}, {100 * first.accuracy:.1f}%"] if first else []
        for point in sorted({point for row in rows.values() for point in row.accuracy_at})[:-1]:
            of_point = {row.name: row.accuracy_at[point] for row in rows.values() if point in row.accuracy_at}
            leader = max(of_point, key=of_point.get)
            facts += [f"ahead after {point}% of the budget {leader}, {100 * of_point[leader]:.1f}%"]
        lines.append(f"- {TITLES[name]}: {'; '.join(facts)}.")
    return lines
