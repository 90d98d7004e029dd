"""Fit what calibration.json holds on images that the model did not learn, and write it beside the model.

images, centers = held_out_outputs(classifier, "data/kaggle_fashion")
fitted, detector = fit_calibration(classifier.taxonomy, images, centers, target_precision=0.99, coverage=None)
write_calibration(folder, {**fitted, ...}, detector)
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from app.calibration import CALIBRATION_FILE, CENTERS_FILE, VERSION, UnknownDetector
from app.classifier import Classifier
from app.files import replacing, write_json
from app.model_files import Taxonomy
from evaluation.ood import Centers, centers_of, fit_unknown, out_of_fold_centers
from evaluation.predictions import SplitOutputs, out_of_fold_outputs, run_split
from evaluation.thresholds import fit_thresholds

SPLIT = "validation"
CENTER_IMAGES = 4000  # training images that give the class means
TEMPERATURES = (0.1, 10.0)


def held_out_outputs(
    classifier: Classifier, dataset: str, oof: Path | None = None
) -> tuple[SplitOutputs, Centers | None]:
    """Outputs on images that the model, or with `oof` its like, never saw; the class means if there are embeddings."""
    if oof:
        images, fold_of = out_of_fold_outputs(classifier, oof, dataset)
        return images, None if images.embeddings is None else out_of_fold_centers(images, fold_of)
    images = run_split(classifier, dataset, SPLIT)
    if images.embeddings is None:
        return images, None
    return images, centers_of(run_split(classifier, dataset, "train", CENTER_IMAGES), images)


def fit_calibration(
    taxonomy: Taxonomy, images: SplitOutputs, centers: Centers | None, target_precision: float, coverage: float | None
) -> tuple[dict, UnknownDetector]:
    """The fitted part of calibration.json, and the detector of unknown things that it describes."""
    temperature = fit_temperature(images.logits, images.truth)
    probabilities = softmax((images.logits / temperature).astype(np.float64), axis=1)
    detector, area = fit_unknown(images, centers, taxonomy)
    unknown = {name: value for name, value in asdict(detector).items() if name != "centers"}
    return {
        "version": VERSION,
        "temperature": temperature,
        "target_precision": target_precision,
        "thresholds": fit_thresholds(taxonomy, probabilities, images.truth, target_precision),
        "unknown": {**unknown, "held_out_auroc": None if np.isnan(area) else round(area, 4)},
        "conformal": None if coverage is None else conformal(probabilities, images.truth, coverage),
    }, detector


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """What to divide the logits by so that the true labels are most likely: the least negative log-likelihood."""
    rows = np.arange(len(truth))

    def loss(logarithm: float) -> float:
        probabilities = softmax(logits / np.exp(logarithm), axis=1)
        return -float(np.log(np.maximum(probabilities[rows, truth], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def conformal(probabilities: np.ndarray, truth: np.ndarray, coverage: float) -> dict:
    """The quantile of the sums of the probabilities above the true label's, with the correction for few rows."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    sums = np.where(probabilities > of_truth[:, None], probabilities, 0).sum(axis=1)
    level = min(1.0, np.ceil((len(truth) + 1) * coverage) / len(truth))
    return {"coverage": coverage, "quantile": min(1.0, float(np.quantile(sums, level, method="higher")) + 1e-9)}


def write_calibration(folder: Path, content: dict, detector: UnknownDetector) -> None:
    """The class means first: a calibration.json without them would not load."""
    if detector.centers is not None:
        with replacing(folder / CENTERS_FILE) as partial, partial.open("wb") as file:
            np.save(file, detector.centers.astype(np.float16), allow_pickle=False)
    write_json(folder / CALIBRATION_FILE, content)
    if detector.centers is None:
        (folder / CENTERS_FILE).unlink(missing_ok=True)
