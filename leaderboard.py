"""Rebuild the leaderboard from the runs that validate.py wrote; fetch runs from W&B; score a submission.

    python leaderboard.py
    python leaderboard.py --wandb team/snapshelf
    python leaderboard.py --score submission.csv --solution competition/solution.csv

The first reads results/runs/*.json; writes results/leaderboard.csv and the tables between the markers in
results/README.md, best accuracy first, one table per set of scored rows. Under each table stands the smallest model
that is as good as the best: McNemar's exact test (1947) on the rows where only one of the two is right gives p ≥ 0.05.
The second writes the same columns of a project's W&B runs to results/leaderboard_wandb.csv and shows them; what only
validate.py measures stays empty. The third checks and scores a submission as Kaggle does.
"""

import argparse
from pathlib import Path

from app.errors import OneLineParser, UserError, add_version, one_line_errors
from data_prep.pipeline.competition_scoring import score_submission
from evaluation.leaderboard import tables, write_attributes_csv, write_csv, write_tables
from evaluation.runs import RESULTS, best_first, read_runs


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        if options.score or options.solution:
            print_submission(options.score, options.solution)
        elif options.wandb:
            from_wandb(options.wandb, options.results)
        else:
            rebuild(options.results)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="leaderboard.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="results folder (default: results/)"
    )
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="fetch the runs of this W&B project, PROJECT or TEAM/PROJECT"
    )
    parser.add_argument("--score", type=Path, metavar="FILE", help="submission to score, CSV with id,label")
    parser.add_argument("--solution", type=Path, metavar="FILE", help="solution.csv of data_prep.competition")
    add_version(parser)
    return parser


def rebuild(results: Path) -> None:
    runs = read_runs(results)
    write_csv(runs, results / "leaderboard.csv")
    write_attributes_csv(runs, results / "leaderboard_attributes.csv")
    write_tables(runs, results / "README.md")
    print(f"{len(runs)} runs in {results / 'leaderboard.csv'} and {results / 'README.md'}")


def from_wandb(project: str, results: Path) -> None:
    """Write and show the runs of a W&B project. McNemar's test needs each row's answer, which W&B does not have."""
    from evaluation.wandb_runs import wandb_runs

    runs, others = wandb_runs(project)
    if not runs:
        raise UserError(f"none of the {others} runs of {project} has a test score that train.py recorded")
    runs = best_first(runs)
    results.mkdir(parents=True, exist_ok=True)
    write_csv(runs, results / "leaderboard_wandb.csv")
    print(tables(runs, compare=False))
    print(f"{len(runs)} runs in {results / 'leaderboard_wandb.csv'}; {others} others have no test score of train.py")


def print_submission(submission: Path | None, solution: Path | None) -> None:
    if submission is None:
        raise UserError("--solution needs --score FILE too")
    if solution is None:
        raise UserError("--score needs --solution FILE too")
    print(f"{submission}, accuracy:")
    for usage, score in score_submission(submission, solution).items():
        print(f"{usage.lower():<8} {score.accuracy:.4f}  ({score.rows:,} rows, macro-F1 {score.macro_f1:.4f})")


if __name__ == "__main__":
    main()
