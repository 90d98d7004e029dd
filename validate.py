"""Score a trained model on a split of a prepared dataset, with intervals, calibration and figures.

    python validate.py --model app/models/fashion --dataset data/kaggle_fashion --split test     # 21 s: accuracy 0.8685

Writes results/runs/NAME.json and figures beside it; `python leaderboard.py` makes the table of all runs. The model is
scored the way predict.py runs it: model.onnx (or model.int8.onnx), fed with the images' original bytes, and with the
temperature of calibration.json if the folder has one. A label counts as the answer whatever its status.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from datasets import Dataset

from app.classifier import Classifier
from app.errors import OneLineParser, add_version, one_line_errors
from app.files import write_json
from app.model_files import PRECISIONS
from app.taxonomy import Taxonomy
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.attribute_scores import attribute_run
from evaluation.predictions import calibrated_probabilities, coarser_categories, load_split, read_titles
from evaluation.provenance import command_line, commit, machine
from evaluation.runs import RESULTS, TITLE_COLUMN, model_facts, path_of_run, training_facts
from evaluation.scoring import group_resamples, level_scores, reliability, score

WITH_TITLES = "_with_titles"  # at the end of a run's name


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    name = options.name or options.model.resolve().name + (WITH_TITLES if options.title_column else "")
    with one_line_errors(parser):
        path = path_of_run(options.output, name)
        classifier = Classifier.load(options.model, precision=options.precision)
        levels = scored_levels(classifier.taxonomy, options.label)
        rows, truth = load_split(classifier, options.dataset, options.split, levels[-1])
        fingerprint = dataset_fingerprint(options.dataset)
        titles = titles_of(classifier, rows, options)
        probabilities, of_attributes, images_per_second = calibrated_probabilities(classifier, rows, titles)
        predicted = probabilities.argmax(axis=1)
        coarser = coarser_categories(rows, levels[:-1])
        weights = group_resamples(rows["group"], truth, options.seed)
        result = {
            "name": name,
            "command": command_line("validate.py", argv),
            "seed": options.seed,
            **training_facts(options.model),
            "dataset": options.dataset.resolve().name,
            "fingerprint": fingerprint,
            "split": options.split,
            **({TITLE_COLUMN: options.title_column} if options.title_column else {}),
            **model_facts(options.model, classifier, with_titles=titles is not None),
            "images_per_second": round(images_per_second, 1),
            "machine": machine(),
            "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(),
            **level_scores(classifier.taxonomy, coarser, predicted, weights),
            **score(probabilities, truth, rows["group"], classifier.labels, options.seed),
            **attribute_run(classifier, of_attributes, rows, options.seed),
            "reliability": reliability(probabilities, truth),
            "rows": len(rows),
            "correct_rows": np.packbits(predicted == truth).tobytes().hex(),
        }
        write_json(path, result)
        if options.figures:
            from evaluation.figures import draw_figures  # matplotlib takes a second to load

            draw_figures(result, probabilities, truth, classifier.labels, rows, path.with_suffix(""))
    print_scores(result, levels)
    print(f"written to {path}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="validate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, type=Path, help="folder that a data_prep module wrote")
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--label", help="label column (default: the one that the model learned)")
    parser.add_argument(
        "--title_column", metavar="NAME", help="score the answers from image and title; NAME is the dataset's column"
    )
    parser.add_argument("--name", help="name of the run in results/runs (default: the model folder's name)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder (default: results/)")
    parser.add_argument("--seed", type=int, default=42, help="of the bootstrap intervals (default: 42)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="as predict.py (default: auto)")
    parser.add_argument("--figures", action=argparse.BooleanOptionalAction, default=True, help="draw figures")
    add_version(parser)
    return parser


def titles_of(classifier: Classifier, rows: Dataset, options: argparse.Namespace) -> list[str] | None:
    """Raises UserError for a model or a dataset without titles."""
    if not options.title_column:
        return None
    classifier.required_titles()
    return read_titles(rows, options.dataset, options.title_column)


def scored_levels(taxonomy: Taxonomy, label: str | None) -> list[str]:
    """The columns of the model's taxonomy, coarse to fine; the label alone if --label names another column."""
    return taxonomy.levels if label in (None, taxonomy.levels[-1]) else [label]


def print_scores(result: dict, levels: list[str]) -> None:
    print(f"{result['name']} on {result['dataset']} ({result['fingerprint']}), {result['split']}:")
    for name in ["accuracy", "top5", "macro_f1", *(f"{level}_accuracy" for level in levels[:-1])]:
        if name in result:
            low, high = result[name]["interval"]
            print(f"  {name:<26} {result[name]['value']:.4f}  [{low:.4f}, {high:.4f}]")
    for name, scores in result.get("attributes", {}).items():
        low, high = scores["accuracy"]["interval"]
        print(f"  {name:<26} {scores['accuracy']['value']:.4f}  [{low:.4f}, {high:.4f}]")
    print(f"  {'expected_calibration_error':<26} {result['expected_calibration_error']:.4f}")
    print(f"  {'images/s':<26} {result['images_per_second']:.0f}")


if __name__ == "__main__":
    main()
