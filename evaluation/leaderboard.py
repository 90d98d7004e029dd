"""The runs of results/ as tables: leaderboard.csv, and Markdown between two markers of results/README.md.

Under each table stands the smallest model that is as good as the best: McNemar's exact test (1947) on the rows where
only one of the two is right gives p ≥ 0.05.
"""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from app.files import replacing, write_section
from data_prep.pipeline.card import table as card_table
from evaluation.runs import FACTS, ROWS_SCORED, TITLE_COLUMN, rows_scored

START, END = "<!-- leaderboard: written by leaderboard.py -->", "<!-- end of leaderboard -->"
SIGNIFICANCE = 0.05
SCORES = ("accuracy", "macro_f1", "top5")  # beside them `NAME_accuracy` for each coarser level
OF_LEVEL = "_accuracy"
ATTRIBUTE_SCORES = ("accuracy", "macro_f1")
SEED = "seed"  # of the intervals; the oldest runs did not record it


def level_scores(runs: Sequence[dict]) -> list[str]:
    """The scores of the coarser levels of these runs, the finest first; validate.py writes the broadest first."""
    return list(dict.fromkeys(key for run in runs for key in reversed(run) if key.endswith(OF_LEVEL)))


def write_csv(runs: list[dict], path: Path) -> None:
    """One column per score, followed by the ends of its interval."""
    names = [*SCORES, *level_scores(runs)]
    score_columns = [column for score in names for column in (score, f"{score}_low", f"{score}_high")]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["name", *ROWS_SCORED, *score_columns, "expected_calibration_error", *FACTS, SEED, TITLE_COLUMN]
        )
        for run in runs:
            scores = [run.get(score, {"value": None, "interval": [None, None]}) for score in names]
            cells = [cell for score in scores for cell in (score["value"], *score["interval"])]
            error = run["expected_calibration_error"]
            cells += [
                error if error is None else round(error, 5),
                *(run[fact] for fact in FACTS),
                run.get(SEED),
                run.get(TITLE_COLUMN),
            ]
            writer.writerow([run["name"], *(run[key] for key in ROWS_SCORED), *cells])


def write_attributes_csv(runs: list[dict], path: Path) -> None:
    """One line per run and attribute; no file where no run has any."""
    lines = [(run, name, scores) for run in runs for name, scores in run.get("attributes", {}).items()]
    if not lines:
        path.unlink(missing_ok=True)
        return
    columns = [column for score in ATTRIBUTE_SCORES for column in (score, f"{score}_low", f"{score}_high")]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "attribute", *ROWS_SCORED, *columns, "top2", "expected_calibration_error", "images"])
        for run, name, scores in lines:
            cells = [run[key] for key in ROWS_SCORED]
            for score in ATTRIBUTE_SCORES:
                cells += [scores[score]["value"], *scores[score]["interval"]]
            cells += [scores["top2"], round(scores["expected_calibration_error"], 5), scores["images"]]
            writer.writerow([run["name"], name, *cells])


def write_tables(runs: list[dict], path: Path) -> None:
    """Replace what stands between the markers; a README without them gets them at its end."""
    write_section(path, START, END, tables(runs), "# Results\n")


def tables(runs: list[dict], compare: bool = True) -> str:
    """One Markdown table per set of scored rows. compare: name the smallest model that is as good as the best."""
    return "\n".join(table(list(group), compare) for _, group in groupby(runs, key=rows_scored))


def table(runs: list[dict], compare: bool) -> str:
    first = runs[0]
    images = f"{first['rows']:,} images, " if first["rows"] else ""
    titles = f", images with titles (column `{first[TITLE_COLUMN]}`)" if first.get(TITLE_COLUMN) else ""
    levels = level_scores(runs)
    shown = [level.removesuffix(OF_LEVEL) for level in levels]
    heads = ["model", "accuracy", "macro-F1", "top-5", *shown, "calibration error", "MB", "images/s"]
    lines = [
        f"\n**{first['dataset']}, {first['split']}{titles}** ({images}data {first['fingerprint']})\n",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for run in runs:
        cells = [percent(run.get(score)) for score in (*SCORES, *levels)]
        facts = (("expected_calibration_error", 3), ("megabytes", 1), ("images_per_second", 0))
        cells += ["–" if run[fact] is None else f"{run[fact]:.{digits}f}" for fact, digits in facts]
        lines.append(f"| {run['name']} | {' | '.join(cells)} |")
    if compare and len(runs) > 1:
        lines += ["", smallest_as_good(runs)]
    return "\n".join([*lines, *attribute_lines(runs), ""])


def attribute_lines(runs: list[dict]) -> list[str]:
    """A table of the attributes of those runs that have some."""
    rows = [
        [run["name"], name, *(percent(scores[score]) for score in ATTRIBUTE_SCORES)]
        + [f"{100 * scores['top2']:.1f}", f"{scores['expected_calibration_error']:.3f}", str(scores["images"])]
        for run in runs
        for name, scores in run.get("attributes", {}).items()
    ]
    if not rows:
        return []
    header = ["model", "attribute", "accuracy", "macro-F1", "top-2", "calibration error", "images"]
    return ["", *card_table(header, rows)]


def percent(score: dict | None) -> str:
    if score is None:
        return "–"
    low, high = score["interval"]
    interval = "" if low is None else f" ({100 * low:.1f}–{100 * high:.1f})"
    return f"{100 * score['value']:.1f}{interval}"


def smallest_as_good(runs: list[dict]) -> str:
    best = runs[0]
    as_good = [run for run in runs if mcnemar(best, run) >= SIGNIFICANCE]
    smallest = min(as_good, key=lambda run: run["megabytes"])
    if smallest is best:
        return f"No smaller model is as good as {best['name']}."
    return f"{smallest['name']} is the smallest model as good as {best['name']} (p = {mcnemar(best, smallest):.2f})."


def mcnemar(run: dict, other: dict) -> float:
    """Two-sided p-value that the two models are equally often right, from the rows on which they differ."""
    right = [np.unpackbits(np.frombuffer(bytes.fromhex(scored["correct_rows"]), np.uint8)) for scored in (run, other)]
    return exact_mcnemar(*right)


def exact_mcnemar(right: np.ndarray, other: np.ndarray) -> float:
    """The same of (rows,) 0 or 1: whether each of two models is right."""
    from scipy.stats import binomtest  # a second

    first_only, second_only = int((right > other).sum()), int((other > right).sum())
    return binomtest(first_only, first_only + second_only).pvalue if first_only + second_only else 1.0
