"""The runs of results/ as tables: leaderboard.csv, and Markdown between two markers of results/README.md.

Under each table stands the smallest model that is as good as the best: McNemar's exact test (1947) on the rows where
only one of the two is right gives p ≥ 0.05.
"""

import csv
from itertools import groupby
from pathlib import Path

import numpy as np

from app.files import replacing, write_text
from evaluation.runs import FACTS, ROWS_SCORED, rows_scored

START, END = "<!-- leaderboard: written by leaderboard.py -->", "<!-- end of leaderboard -->"
SIGNIFICANCE = 0.05
SCORES = ("accuracy", "macro_f1", "top5", "subCategory_accuracy", "masterCategory_accuracy")
SEED = "seed"  # of the intervals; the oldest runs did not record it


def write_csv(runs: list[dict], path: Path) -> None:
    """One column per score, followed by the ends of its interval."""
    score_columns = [column for score in SCORES for column in (score, f"{score}_low", f"{score}_high")]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *ROWS_SCORED, *score_columns, "expected_calibration_error", *FACTS, SEED])
        for run in runs:
            scores = [run.get(score, {"value": None, "interval": [None, None]}) for score in SCORES]
            cells = [cell for score in scores for cell in (score["value"], *score["interval"])]
            error = run["expected_calibration_error"]
            cells += [error if error is None else round(error, 5), *(run[fact] for fact in FACTS), run.get(SEED)]
            writer.writerow([run["name"], *rows_scored(run), *cells])


def write_tables(runs: list[dict], path: Path) -> None:
    """Replace what stands between the markers; a README without them gets them at its end."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2].removeprefix("\n")
    write_text(path, f"{before.rstrip()}\n\n{START}\n{tables(runs)}{END}\n{after}")


def tables(runs: list[dict], compare: bool = True) -> str:
    """One Markdown table per set of scored rows. compare: name the smallest model that is as good as the best."""
    return "\n".join(table(list(group), compare) for _, group in groupby(runs, key=rows_scored))


def table(runs: list[dict], compare: bool) -> str:
    first = runs[0]
    images = f"{first['rows']:,} images, " if first["rows"] else ""
    lines = [
        f"\n**{first['dataset']}, {first['split']}** ({images}data {first['fingerprint']})\n",
        "| model | accuracy | macro-F1 | top-5 | subCategory | masterCategory | calibration error | MB | images/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        cells = [percent(run.get(score)) for score in SCORES]
        facts = (("expected_calibration_error", 3), ("megabytes", 1), ("images_per_second", 0))
        cells += ["–" if run[fact] is None else f"{run[fact]:.{digits}f}" for fact, digits in facts]
        lines.append(f"| {run['name']} | {' | '.join(cells)} |")
    if compare and len(runs) > 1:
        lines += ["", smallest_as_good(runs)]
    return "\n".join([*lines, ""])


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
    from scipy.stats import binomtest  # a second

    right = [np.unpackbits(np.frombuffer(bytes.fromhex(scored["correct_rows"]), np.uint8)) for scored in (run, other)]
    first_only, second_only = int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())
    return binomtest(first_only, first_only + second_only).pvalue if first_only + second_only else 1.0
