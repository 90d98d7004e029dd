"""Measure on held-out images how far a model can be trusted, and store it beside the model as calibration.json.

    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion
    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion --target_precision 0.98 --coverage 0.95
    python calibrate.py --model runs/slash8 --dataset data/slash --oof runs/slash8/oof.parquet

On the validation split: a temperature that makes confidences true (Guo et al. 2017), for each category the confidence
from which on answers reach the target precision, a detector of unknown things, and with --coverage the quantile for
sets of labels that hold the true one so often (Romano et al. 2020). predict.py, the app and validate.py then use it.
A set too small to hold a split back is answered out of fold (train.py --folds), which --oof takes instead.
"""

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from app.calibration import CALIBRATION_FILE, CENTERS_FILE, VERSION, UnknownDetector, model_hash
from app.classifier import Classifier, ModelError
from app.model_files import MODEL_FILE
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.ood import Centers, centers_of, fit_unknown, out_of_fold_centers
from evaluation.predictions import SplitOutputs, read_out_of_fold, run_split
from evaluation.scoring import expected_calibration_error
from evaluation.thresholds import fit_thresholds

SPLIT, OUT_OF_FOLD = "validation", "out of fold"
CENTER_IMAGES = 4000  # training images that give the class means
TEMPERATURES = (0.1, 10.0)


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parse_arguments(parser, argv)
    try:
        classifier = Classifier.load(args.model, precision="fp32", calibrated=False)
        validation, centers = evidence(classifier, args)
        fingerprint = dataset_fingerprint(args.dataset)
    except (ModelError, ValueError) as error:
        parser.error(str(error))
    temperature = fit_temperature(validation.logits, validation.truth)
    probabilities = softmax(validation.logits / temperature)
    detector, area = fit_unknown(validation, centers, classifier.taxonomy)
    content = {
        "version": VERSION,
        "temperature": temperature,
        "target_precision": args.target_precision,
        "thresholds": fit_thresholds(classifier.taxonomy, probabilities, validation.truth, args.target_precision),
        "unknown": describe(detector, area),
        "conformal": conformal(probabilities, validation.truth, args.coverage),
        "dataset": Path(args.dataset).name,
        "fingerprint": fingerprint,
        "split": OUT_OF_FOLD if args.oof else SPLIT,
        "model_sha256": model_hash(args.model / MODEL_FILE),
        "command": shlex.join(["python", "calibrate.py", *(sys.argv[1:] if argv is None else argv)]),
        "date": datetime.now(UTC).date().isoformat(),
    }
    write(args.model, content, detector)
    report(args.model, content, validation, probabilities)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="calibrate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, help="the prepared dataset that the model learnt")
    parser.add_argument(
        "--target_precision",
        type=float,
        default=0.99,
        help="share of the answers called ok that shall be right (default: %(default)s)",
    )
    parser.add_argument("--oof", type=Path, metavar="FILE", help="oof.parquet of train.py --folds, of the same recipe")
    parser.add_argument("--coverage", type=float, help="also fit sets of labels that hold the true one this often")
    return parser


def parse_arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    for name in ("target_precision", "coverage"):
        value = getattr(args, name)
        if value is not None and not 0.5 <= value < 1:
            parser.error(f"--{name} {value} must be at least 0.5 and below 1, such as 0.99")
    return args


def evidence(classifier: Classifier, args: argparse.Namespace) -> tuple[SplitOutputs, Centers | None]:
    """Answers about images that the model, or its like, never saw, and the class means if there are embeddings."""
    if args.oof:
        images, fold_of = read_out_of_fold(classifier, args.oof, args.dataset)
        return images, None if images.embeddings is None else out_of_fold_centers(images, fold_of)
    validation = run_split(classifier, args.dataset, SPLIT)
    if "embeddings" not in classifier.outputs:
        return validation, None
    return validation, centers_of(run_split(classifier, args.dataset, "train", CENTER_IMAGES), validation)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """What the logits are divided by so that the true labels are most likely: the least negative log-likelihood."""
    rows = np.arange(len(truth))

    def loss(logarithm: float) -> float:
        probabilities = softmax(logits / np.exp(logarithm))
        return -float(np.log(np.maximum(probabilities[rows, truth], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(rows, labels) -> the same in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def describe(detector: UnknownDetector, area: float) -> dict:
    return {
        "method": detector.method,
        "threshold": detector.threshold,
        "middle": detector.middle,
        "width": detector.width,
        "weight": detector.weight,
        "held_out_auroc": None if np.isnan(area) else round(area, 4),
    }


def conformal(probabilities: np.ndarray, truth: np.ndarray, coverage: float | None) -> dict | None:
    """The quantile of the sums of the probabilities above the true label's, with the correction for few rows."""
    if coverage is None:
        return None
    own = probabilities[np.arange(len(truth)), truth]
    sums = np.where(probabilities > own[:, None], probabilities, 0).sum(axis=1)
    level = min(1.0, np.ceil((len(truth) + 1) * coverage) / len(truth))
    return {"coverage": coverage, "quantile": min(1.0, float(np.quantile(sums, level, method="higher")) + 1e-9)}


def write(folder: Path, content: dict, detector: UnknownDetector) -> None:
    """The class means first: a calibration.json without them would not load."""
    if detector.centers is not None:
        partial = folder / f"{CENTERS_FILE}.partial"
        with partial.open("wb") as file:
            np.save(file, detector.centers.astype(np.float16), allow_pickle=False)
        partial.replace(folder / CENTERS_FILE)
    partial = folder / f"{CALIBRATION_FILE}.partial"
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / CALIBRATION_FILE)
    if detector.centers is None:
        (folder / CENTERS_FILE).unlink(missing_ok=True)


def report(folder: Path, content: dict, split: SplitOutputs, probabilities: np.ndarray) -> None:
    before = expected_calibration_error(softmax(split.logits), split.truth)
    after = expected_calibration_error(probabilities, split.truth)
    print(f"{folder / CALIBRATION_FILE}: temperature {content['temperature']:.3f}")
    print(f"  expected calibration error {before:.3f} -> {after:.3f} on these {len(split.truth)} images")
    for level, thresholds in content["thresholds"].items():
        never = sum(value is None for value in thresholds.values())
        print(f"  {level}: {len(thresholds)} thresholds, {never} categories are never sure enough")
    print(f"  unknown: {content['unknown']['method']}, AUROC {content['unknown']['held_out_auroc']} on held-out labels")


if __name__ == "__main__":
    main()
