"""Rebuild the leaderboard from the runs that validate.py wrote; fetch runs from W&B; score a submission.

    python leaderboard.py
    python leaderboard.py --wandb team/snapshelf
    python leaderboard.py --score submission.csv --solution competition/solution.csv

The first reads results/runs/*.json; writes results/leaderboard.csv and the tables between the markers in
results/README.md, best accuracy first, one table for each set of scored rows. Under each table stands the smallest
model that is as good as the best: McNemar's exact test (1947) on the rows where just one of the two is right gives
p ≥ 0.05. The second writes the same columns of a project's W&B runs to results/leaderboard_wandb.csv and shows them;
what only validate.py measures stays empty. The third checks and scores a submission as Kaggle does.
"""

import argparse
import csv
import json
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from data_prep.pipeline.submission import score_submission

RESULTS = Path(__file__).resolve().parent / "results"
START, END = "<!-- leaderboard: written by leaderboard.py -->", "<!-- end of leaderboard -->"
SIGNIFICANCE = 0.05
SCORES = ("accuracy", "macro_f1", "top5", "subCategory_accuracy", "masterCategory_accuracy")
FACTS = ("parameters", "megabytes", "images_per_second", "machine", "commit", "date", "training", "command")
SEED = "seed"  # of the intervals; the oldest runs did not record it
ROWS_SCORED = ("dataset", "fingerprint", "split")


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    for given, other, names in (
        (options.score, options.solution, ("--score", "--solution")),
        (options.solution, options.score, ("--solution", "--score")),
    ):
        if given and not other:
            parser.error(f"{names[0]} needs {names[1]} FILE too")
    try:
        if options.score:
            print_submission(options.score, options.solution)
        elif options.wandb:
            from_wandb(options.wandb, options.results)
        else:
            rebuild(options.results)
    except ValueError as error:
        parser.error(str(error))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leaderboard.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="results folder; default: results/"
    )
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="fetch the runs of this W&B project, PROJECT or TEAM/PROJECT"
    )
    parser.add_argument("--score", type=Path, metavar="FILE", help="submission to score, CSV with id,label")
    parser.add_argument("--solution", type=Path, metavar="FILE", help="solution.csv of data_prep.competition")
    return parser


def rebuild(results: Path) -> None:
    runs = read_runs(results / "runs")
    write_csv(runs, results / "leaderboard.csv")
    write_tables(runs, results / "README.md")
    print(f"{len(runs)} runs in {results / 'leaderboard.csv'} and {results / 'README.md'}")


def from_wandb(project: str, results: Path) -> None:
    """Write and show the runs of a W&B project. McNemar's test needs each row's answer, which W&B does not have."""
    from training.tracking import wandb_runs  # 2 s

    runs, others = wandb_runs(project)
    if not runs:
        raise ValueError(f"none of the {others} runs of {project} has a test score that train.py recorded")
    runs = best_first(runs)
    results.mkdir(parents=True, exist_ok=True)
    write_csv(runs, results / "leaderboard_wandb.csv")
    for _, group in groupby(runs, key=rows_scored):
        print(table(list(group), compare=False))
    print(f"{len(runs)} runs in {results / 'leaderboard_wandb.csv'}; {others} others have no test score of train.py")


def print_submission(submission: Path, solution: Path) -> None:
    print(f"{submission}, accuracy:")
    for usage, score in score_submission(submission, solution).items():
        print(f"{usage.lower():<8} {score.accuracy:.4f}  ({score.rows:,} rows, macro-F1 {score.macro_f1:.4f})")


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
    return best_first(runs)


def best_first(runs: list[dict]) -> list[dict]:
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
        writer.writerow([*columns, "expected_calibration_error", *FACTS, SEED])
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
    tables = "\n".join(table(list(group)) for _, group in groupby(runs, key=rows_scored))
    path.write_text(f"{before.rstrip()}\n\n{START}\n{tables}{END}\n{after}", encoding="utf-8")


def table(runs: list[dict], compare: bool = True) -> str:
    """The runs on one set of rows as a Markdown table with the smallest model that is as good as the best."""
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


def mcnemar(one: dict, other: dict) -> float:
    """Two-sided p-value that the two models are equally often right, from the rows on which they differ."""
    right = [np.unpackbits(np.frombuffer(bytes.fromhex(run["correct_rows"]), np.uint8)) for run in (one, other)]
    only_one, only_other = int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())
    return binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0


if __name__ == "__main__":
    main()
