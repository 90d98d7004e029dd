"""Rebuild the leaderboard from the runs that validate.py wrote.

    python leaderboard.py

Reads results/runs/*.json; writes results/leaderboard.csv and the tables between the markers in results/README.md, best
accuracy first, one table for each set of scored rows. Under each table stands the smallest model that is as good as the
best: McNemar's exact test (1947) on the rows where just one of the two is right gives p ≥ 0.05.
"""

import argparse
import csv
import json
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

RESULTS = Path(__file__).resolve().parent / "results"
START, END = "<!-- leaderboard: written by leaderboard.py -->", "<!-- end of leaderboard -->"
SIGNIFICANCE = 0.05
SCORES = ("accuracy", "macro_f1", "top5", "subCategory_accuracy", "masterCategory_accuracy")
FACTS = ("parameters", "megabytes", "images_per_second", "machine", "commit", "date", "training", "command")
ROWS_SCORED = ("dataset", "fingerprint", "split")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="leaderboard.py", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="results folder (default: results/)")
    results = parser.parse_args(argv).results
    try:
        runs = read_runs(results / "runs")
    except ValueError as error:
        parser.error(str(error))
    write_csv(runs, results / "leaderboard.csv")
    write_tables(runs, results / "README.md")
    print(f"{len(runs)} runs in {results / 'leaderboard.csv'} and {results / 'README.md'}")


def read_runs(folder: Path) -> list[dict]:
    """All runs, those on the same rows together, best accuracy first. Raises ValueError naming a file that is none."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            run["accuracy"]["value"], run["correct_rows"], [run[key] for key in (*ROWS_SCORED, *FACTS)]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a run that validate.py wrote ({type(error).__name__}: {error})") from error
        runs.append(run)
    if not runs:
        raise ValueError(f"no runs in {folder}; python validate.py --model DIR --dataset D writes one")
    return sorted(runs, key=lambda run: (rows_scored(run), -run["accuracy"]["value"], run["name"]))


def rows_scored(run: dict) -> tuple[str, ...]:
    """What makes two runs comparable."""
    return tuple(run[key] for key in ROWS_SCORED)


def write_csv(runs: list[dict], path: Path) -> None:
    """A column a score with its interval's ends beside it."""
    columns = ["name", *ROWS_SCORED]
    for score in SCORES:
        columns += [score, f"{score}_low", f"{score}_high"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, "expected_calibration_error", *FACTS])
        for run in runs:
            scores = [run.get(score, {"value": None, "interval": [None, None]}) for score in SCORES]
            cells = [cell for score in scores for cell in (score["value"], *score["interval"])]
            error = round(run["expected_calibration_error"], 5)
            writer.writerow([run["name"], *rows_scored(run), *cells, error, *(run[fact] for fact in FACTS)])


def write_tables(runs: list[dict], path: Path) -> None:
    """Replace what stands between the markers; a README without them gets them at its end."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2].removeprefix("\n")
    tables = "\n".join(table(list(group)) for _, group in groupby(runs, key=rows_scored))
    path.write_text(f"{before.rstrip()}\n\n{START}\n{tables}{END}\n{after}", encoding="utf-8")


def table(runs: list[dict]) -> str:
    """The runs on one set of rows as a Markdown table with the smallest model that is as good as the best."""
    first = runs[0]
    lines = [
        f"\n**{first['dataset']}, {first['split']}** ({first['rows']:,} pictures, data {first['fingerprint']})\n",
        "| model | accuracy | macro-F1 | top-5 | subCategory | masterCategory | calibration error | MB | images/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        cells = [percent(run.get(score)) for score in SCORES]
        facts = f"{run['expected_calibration_error']:.3f} | {run['megabytes']:.1f} | {run['images_per_second']:.0f}"
        lines.append(f"| {run['name']} | {' | '.join(cells)} | {facts} |")
    if len(runs) > 1:
        lines += ["", smallest_as_good(runs)]
    return "\n".join([*lines, ""])


def percent(score: dict | None) -> str:
    if score is None:
        return "–"
    low, high = score["interval"]
    return f"{100 * score['value']:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def smallest_as_good(runs: list[dict]) -> str:
    best = runs[0]
    as_good = [run for run in runs if mcnemar(best, run) >= SIGNIFICANCE]
    smallest = min(as_good, key=lambda run: run["megabytes"])
    if smallest is best:
        return f"No smaller model is as good as {best['name']}."
    return f"{smallest['name']} is the smallest model as good as {best['name']} (p = {mcnemar(best, smallest):.2f})."


def mcnemar(one: dict, other: dict) -> float:
    """Two-sided p-value that the two models are equally often right, from the rows on which they differ."""
    right = [np.unpackbits(np.frombuffer(bytes.fromhex(run["correct_rows"]), np.uint8)) for run in (one, other)]
    only_one, only_other = int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())
    return binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0


if __name__ == "__main__":
    main()
