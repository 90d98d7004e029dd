"""Score a trained model on a split of a prepared dataset, with intervals, calibration and figures.

    python validate.py --model app/models/fashion --dataset data/kaggle_fashion --split test

Writes results/runs/NAME.json and figures beside it; `python leaderboard.py` makes the table of all runs. The model is
scored the way predict.py runs it: model.onnx (or model.int8.onnx), fed with the images' original bytes, and with the
temperature of calibration.json where the folder has one. A label counts as the answer whatever its status.
"""

import argparse
import errno
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from datasets import Dataset
from datasets import Image as ImageFeature
from tqdm import tqdm

from app.classifier import Classifier, ModelError
from app.model_files import INT8_FILE, MODEL_FILE, PRECISIONS
from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import load_prepared
from evaluation.scoring import group_resamples, rate, reliability, score

RESULTS = Path(__file__).resolve().parent / "results"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    try:
        check_results(options)
        classifier = Classifier.load(options.model, precision=options.precision)
        levels = taxonomy_levels(classifier, options.label)
        split = load_prepared(options.dataset, levels[-1], [options.split])[options.split]
        truth = true_ids(classifier, split, levels[-1])
        fingerprint = dataset_fingerprint(options.dataset)
    except (ModelError, ValueError) as error:
        parser.error(str(error))
    split = split.cast_column("image", ImageFeature(decode=False))  # the classifier opens the original bytes
    probabilities, images_per_second = predict(classifier, split)
    result = {
        **describe(options, argv, classifier, fingerprint, images_per_second),
        **score_levels(classifier, split, levels, probabilities.argmax(axis=1), truth, options.seed),
        **score(probabilities, truth, split["group"], classifier.labels, options.seed),
        "reliability": reliability(probabilities, truth),
        "rows": len(split),
        "correct_rows": np.packbits(probabilities.argmax(axis=1) == truth).tobytes().hex(),
    }
    path = write(result, options)
    if options.figures:
        from evaluation.figures import draw_figures  # matplotlib takes a second to load

        draw_figures(result, probabilities, truth, classifier.labels, split, path.with_suffix(""))
    print_scores(result, levels, path)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="validate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, help="folder that a data_prep module wrote")
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--label", help="label column (default: the one that the model learnt)")
    parser.add_argument("--name", help="name of the run in results/runs (default: the model folder's name)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder (default: results/)")
    parser.add_argument("--seed", type=int, default=42, help="of the bootstrap intervals (default: 42)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="as predict.py (default: auto)")
    parser.add_argument("--figures", action=argparse.BooleanOptionalAction, default=True, help="draw figures")
    return parser


def check_results(options: argparse.Namespace) -> None:
    """Raises ValueError if the results could not be written, which nobody should learn after the slow work."""
    options.name = options.name or Path(options.model).resolve().name
    if options.name in ("", ".", "..") or Path(options.name).name != options.name:
        raise ValueError(f"--name {options.name!r} must be the name of a file, without a path")
    folder = options.output / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ValueError(f"cannot write --output {options.output}: {error.strerror}") from error


def taxonomy_levels(classifier: Classifier, label: str | None) -> list[str]:
    """The columns of the model's taxonomy, coarse to fine; the label alone where --label names another column."""
    levels = classifier.taxonomy.levels
    return levels if label in (None, levels[-1]) else [label]


def true_ids(classifier: Classifier, split: Dataset, label: str) -> np.ndarray:
    """(rows,) ids of the true classes as the model counts them. Raises ValueError for classes it does not know."""
    names = split.features[label].names
    model_id = {name: i for i, name in enumerate(classifier.labels)}
    unknown = sorted({names[i] for i in split[label]} - set(model_id))
    if unknown:
        raise ValueError(f"the model does not know {len(unknown)} classes of {label}: {', '.join(unknown[:5])}")
    return np.array([model_id[names[i]] for i in split[label]])


def predict(classifier: Classifier, split: Dataset) -> tuple[np.ndarray, float]:
    """Probabilities (rows, labels) float64 in the model's order, and images/s from bytes to answer.

    Raises ValueError on an image that cannot be read: a prepared dataset has none.
    """
    column = {label: i for i, label in enumerate(classifier.labels)}
    probabilities = np.empty((len(split), len(column)))
    start = time.perf_counter()
    predictions = classifier.stream((row["image"]["bytes"] for row in split), top_k=len(column))
    for row, prediction in enumerate(tqdm(predictions, total=len(split), unit=" images", disable=None)):
        if prediction.status == "error":
            raise ValueError(f"row {row} of the split: {prediction.error}")
        for label, confidence in prediction.top_k:
            probabilities[row, column[label]] = confidence
    return probabilities, len(split) / (time.perf_counter() - start)


def score_levels(
    classifier: Classifier, split: Dataset, levels: list[str], predicted: np.ndarray, truth: np.ndarray, seed: int
) -> dict:
    """How often the predicted label's path is right at each coarser level that the dataset has a column for."""
    weights = group_resamples(split["group"], truth, seed)
    scores = {}
    for depth, level in enumerate(levels[:-1]):
        if level in split.features:
            actual = split.features[level].int2str(split[level])
            hits = [classifier.taxonomy.paths[p][depth] == a for p, a in zip(predicted, actual, strict=True)]
            scores[f"{level}_accuracy"] = rate(np.array(hits), weights)
    return scores


def describe(
    options: argparse.Namespace,
    argv: list[str] | None,
    classifier: Classifier,
    fingerprint: str,
    images_per_second: float,
) -> dict:
    """Which model, which data, which command, which machine."""
    graph = Path(options.model) / (INT8_FILE if classifier.precision == "int8" else MODEL_FILE)
    trained = training_facts(Path(options.model))
    return {
        "name": options.name,
        "command": shlex.join(["python", "validate.py", *(sys.argv[1:] if argv is None else argv)]),
        "seed": options.seed,
        "training": trained.get("command"),
        "training_seed": trained.get("training", {}).get("seed"),
        "dataset": Path(options.dataset).resolve().name,
        "fingerprint": fingerprint,
        "split": options.split,
        "precision": classifier.precision,
        "temperature": classifier.calibration.temperature if classifier.calibration else None,
        "parameters": sum(int(np.prod(weight.dims)) for weight in onnx.load(graph).graph.initializer),
        "megabytes": round(graph.stat().st_size / 1e6, 2),
        "images_per_second": round(images_per_second, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def training_facts(model: Path) -> dict:
    """What train.py left about itself in the model's folder; empty for a model from elsewhere."""
    try:
        facts = json.loads((model / "arguments.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def commit() -> str | None:
    """The checkout's commit, with + for uncommitted changes; None outside a checkout."""
    describe = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(describe, cwd=RESULTS.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write(result: dict, options: argparse.Namespace) -> Path:
    path = options.output / "runs" / f"{result['name']}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def print_scores(result: dict, levels: list[str], path: Path) -> None:
    print(f"{result['name']} on {result['dataset']} ({result['fingerprint']}), {result['split']}:")
    for name in ["accuracy", "top5", "macro_f1", *(f"{level}_accuracy" for level in levels[:-1])]:
        if name in result:
            low, high = result[name]["interval"]
            print(f"  {name:<26} {result[name]['value']:.4f}  [{low:.4f}, {high:.4f}]")
    print(f"  {'expected_calibration_error':<26} {result['expected_calibration_error']:.4f}")
    print(f"  {'images/s':<26} {result['images_per_second']:.0f}\nwritten to {path}")


if __name__ == "__main__":
    main()
