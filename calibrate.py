"""Measure on held-out images how far a model can be trusted, and store it beside the model as calibration.json.

    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion          # 1 minute: temperature 1.117
    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion --target_precision 0.98 --coverage 0.95
    python calibrate.py --model runs/slash8 --dataset data/slash --oof runs/slash8/oof.parquet

On the validation split: a temperature that makes confidences true (Guo et al. 2017), for each category the confidence
at which answers reach the target precision, a detector of unknown things, and with --coverage the quantile for sets of
labels that hold the true one that often (Romano et al. 2020). predict.py, the app and validate.py then use it.
For a dataset too small to hold a split back, --oof takes out-of-fold answers (train.py --folds) instead.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from app.calibration import CALIBRATION_FILE, model_hash
from app.classifier import Classifier
from app.errors import OneLineParser, UserError, add_version, one_line_errors
from app.model_files import MODEL_FILE
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.calibration import SPLIT, fit_calibration, held_out_outputs, write_calibration
from evaluation.predictions import SplitOutputs
from evaluation.provenance import command_line
from evaluation.scoring import expected_calibration_error

OUT_OF_FOLD = "out of fold"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        check_share("--target_precision", options.target_precision)
        check_share("--coverage", options.coverage)
        classifier = Classifier.load(options.model, precision="fp32", calibrated=False)
        images, centers = held_out_outputs(classifier, options.dataset, options.oof)
        fitted, detector = fit_calibration(
            classifier.taxonomy, images, centers, options.target_precision, options.coverage
        )
        content = {
            **fitted,
            "dataset": Path(options.dataset).name,
            "fingerprint": dataset_fingerprint(options.dataset),
            "split": OUT_OF_FOLD if options.oof else SPLIT,
            "model_sha256": model_hash(options.model / MODEL_FILE),
            "command": command_line("calibrate.py", argv),
            "date": datetime.now(UTC).date().isoformat(),
        }
        write_calibration(options.model, content, detector)
    print(f"{options.model / CALIBRATION_FILE}: temperature {content['temperature']:.3f}")
    print_report(content, classifier, images)


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="calibrate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, help="the prepared dataset that the model learned")
    parser.add_argument(
        "--target_precision", type=float, default=0.99, help="share of ok answers to be right (default: %(default)s)"
    )
    parser.add_argument("--oof", type=Path, metavar="FILE", help="oof.parquet of train.py --folds, of the same recipe")
    parser.add_argument("--coverage", type=float, help="also fit sets of labels that hold the true one this often")
    add_version(parser)
    return parser


def check_share(option: str, value: float | None) -> None:
    if value is not None and not 0.5 <= value < 1:
        raise UserError(f"{option} {value} must be at least 0.5 and below 1, such as 0.99")


def print_report(content: dict, uncalibrated: Classifier, images: SplitOutputs) -> None:
    before, after = (
        expected_calibration_error(uncalibrated.probabilities(images.logits / temperature), images.truth)
        for temperature in (1.0, content["temperature"])
    )
    print(f"  expected calibration error {before:.3f} -> {after:.3f} on these {len(images.truth)} images")
    for level, thresholds in content["thresholds"].items():
        never = sum(value is None for value in thresholds.values())
        print(f"  {level}: {len(thresholds)} thresholds, {never} categories are never sure enough")
    print(f"  unknown: {content['unknown']['method']}, AUROC {content['unknown']['held_out_auroc']} on held-out labels")


if __name__ == "__main__":
    main()
