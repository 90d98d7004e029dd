"""Fit what calibration.json holds on images that the model did not learn, and write it beside the model.

    held_out = held_out_outputs(classifier, ["data/kaggle_fashion", "data/clothing"], label_map)
    fitted, detector = fit_calibration(classifier.taxonomy, held_out, target_precision=0.99, coverage=None)
    write_calibration(folder, {**fitted, ...}, detector)

Little data proves little: below FEW_ROWS the temperature does not sharpen and there is no floor, and a prior holds the
temperature near 1 above.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from app.calibration import CALIBRATION_FILE, CENTERS_FILE, VERSION, UnknownDetector
from app.classifier import Classifier
from app.files import replacing, write_json
from app.model_files import ModelError
from app.probabilities import Softmax, softmax, without_floor
from app.taxonomy import Taxonomy
from evaluation.kinds import LabelMap, pool, read_kinds, read_others, read_training
from evaluation.ood import Centers, centers_of, fit_unknown, out_of_fold_centers
from evaluation.predictions import SplitOutputs, out_of_fold_outputs, run_split
from evaluation.thresholds import answers, fit_thresholds, shared_interval
from evaluation.unknown_head import DIGITS, fit_head

SPLIT = "validation"
CENTER_IMAGES = 4000  # training images that give the class means
HEAD_IMAGES = 1000  # training images of each dataset from which the detector also learns what is known
TEMPERATURES = (0.1, 10.0)
FEW_ROWS = 300  # fewer cannot show that a model is too modest
FLOORS = (0, 1, 2, 4)  # times the median of a label's probability
PRIOR_DEVIATION = 0.25  # of the logarithm of the temperature, a normal distribution around 0


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Outputs on images that the model never saw, by kind; the class means, if they tell unknown things; the outputs on
    images of other things, by folder, and with them on training images, by dataset."""

    kinds: dict[str, SplitOutputs]
    centers: Centers | None = None
    others: dict[str, SplitOutputs] = field(default_factory=dict)
    learned: dict[str, SplitOutputs] = field(default_factory=dict)

    def pooled(self) -> tuple[SplitOutputs, np.ndarray]:
        return pool(list(self.kinds.values()))


def held_out_outputs(
    classifier: Classifier,
    datasets: Sequence[str],
    label_map: LabelMap,
    others: Sequence[Path] = (),
    oof: Path | None = None,
) -> HeldOut:
    """Run the model on what calibrates it. oof: what a model like it said of the one dataset, out of fold."""
    if oof:
        images, fold_of = out_of_fold_outputs(classifier, oof, datasets[0])
        centers = None if images.embeddings is None else out_of_fold_centers(images, fold_of)
        return HeldOut({Path(datasets[0]).resolve().name: images}, centers)
    if others and "embeddings" not in classifier.outputs:
        raise ModelError(f"the graph of {classifier.name} has no embeddings: leave --others out, or run export.py")
    kinds = read_kinds(classifier, datasets, SPLIT, label_map)
    if others:
        learned = read_training(classifier, datasets, HEAD_IMAGES)
        return HeldOut(kinds, None, read_others(classifier, others), learned)
    images, _ = pool(list(kinds.values()))
    first = next(iter(kinds.values()))
    if images.embeddings is None or first.members is not None:
        return HeldOut(kinds)
    return HeldOut(kinds, centers_of(run_split(classifier, datasets[0], "train", CENTER_IMAGES), images))


def fit_calibration(
    taxonomy: Taxonomy, held_out: HeldOut, target_precision: float, coverage: float | None
) -> tuple[dict, UnknownDetector]:
    """The fitted part of calibration.json, and the detector of unknown things that it describes."""
    images, kind_of = held_out.pooled()
    scale = fit_softmax(images, kind_of)
    probabilities = scale(images.logits)
    detector, report = fit_detector(taxonomy, held_out)
    unknown = {name: value for name, value in asdict(detector).items() if name not in ("centers", "head")}
    if detector.head is not None:
        unknown["head"] = [float(f"{weight:.{DIGITS}g}") for weight in detector.head]
    return {
        "version": VERSION,
        "temperature": scale.temperature,
        "floor": None if scale.floor is None else [float(f"{share:.3g}") for share in scale.floor],
        "target_precision": target_precision,
        "thresholds": fit_thresholds(taxonomy, probabilities, images.truth, target_precision, images.members, kind_of),
        "threshold_intervals": {
            level: shared_interval(
                answers(taxonomy, probabilities, images.truth, depth, images.members), target_precision
            )
            for depth, level in enumerate(taxonomy.levels)
        },
        "rows": {name: len(kind.truth) for name, kind in held_out.kinds.items()},
        "category_shares": category_shares(taxonomy, probabilities),
        "unknown": {**unknown, **report},
        "conformal": None if coverage is None else conformal(probabilities, images.right(), coverage),
    }, detector


def fit_detector(taxonomy: Taxonomy, held_out: HeldOut) -> tuple[UnknownDetector, dict]:
    """A head where there are images of other things to learn from, else a score; and how well it does, for the file."""
    if held_out.others:
        detector, report = fit_head(held_out.kinds, held_out.others, held_out.learned)
        return detector, {"called_unknown": {name: round(share, 4) for name, share in report.items()}}
    images, _ = held_out.pooled()
    detector, area = fit_unknown(images, held_out.centers, taxonomy)
    return detector, {"held_out_auroc": None if np.isnan(area) else round(area, 4)}


def category_shares(taxonomy: Taxonomy, probabilities: np.ndarray) -> dict[str, float]:
    """How often each of the broadest categories is the answer: what a server compares its days with (/metrics)."""
    answered = [taxonomy.paths[label][0] for label in probabilities.argmax(axis=1)]
    return {
        name: round(answered.count(name) / len(answered), 5) for name in sorted({path[0] for path in taxonomy.paths})
    }


def fit_softmax(images: SplitOutputs, kind_of: np.ndarray | None = None) -> Softmax:
    """The temperature and the floor that make the true labels most likely.

    A label's floor is in proportion to the median of its probability: most images show something else.
    """
    middle = np.median(Softmax()(images.logits), axis=0)
    floors = [share * middle if share else None for share in FLOORS] if len(images.truth) >= FEW_ROWS else [None]
    fits = []
    for floor in floors:
        logits = images.logits if floor is None else without_floor(images.logits.astype(np.float64), floor)
        temperature, loss = temperature_and_loss(logits, images.truth, images.members, kind_of)
        fits.append((loss, Softmax(temperature, floor)))
    return min(fits, key=lambda pair: pair[0])[1]


def fitted_softmax(content: dict) -> Softmax:
    """Of what fit_calibration gave."""
    floor = content["floor"]
    return Softmax(content["temperature"], None if floor is None else np.array(floor))


def fit_temperature(
    logits: np.ndarray, truth: np.ndarray, members: np.ndarray | None = None, kind_of: np.ndarray | None = None
) -> float:
    """What to divide the logits by so that the true labels are most likely: the least negative log-likelihood.

    Every kind of image counts alike. Without evidence it is 1; fewer than FEW_ROWS images never sharpen.
    """
    return temperature_and_loss(logits, truth, members, kind_of)[0]


def temperature_and_loss(
    logits: np.ndarray, truth: np.ndarray, members: np.ndarray | None, kind_of: np.ndarray | None
) -> tuple[float, float]:
    """The temperature of fit_temperature, and its loss."""
    right = SplitOutputs(logits, None, truth, truth, members).right()
    counts = np.bincount(np.zeros(len(truth), dtype=int) if kind_of is None else kind_of)
    weights = np.ones(len(truth)) if kind_of is None else len(truth) / len(counts) / counts[kind_of]

    def loss(logarithm: float) -> float:
        of_right = np.where(right, softmax(logits / np.exp(logarithm)), 0).sum(axis=1)
        return -float(weights @ np.log(np.maximum(of_right, 1e-12))) + (logarithm / PRIOR_DEVIATION) ** 2 / 2

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    temperature = float(np.exp(found.x))
    return max(1.0, temperature) if len(truth) < FEW_ROWS else temperature, float(found.fun)


def conformal(probabilities: np.ndarray, right: np.ndarray, coverage: float) -> dict:
    """The quantile of the sums of the probabilities above a right label's, with the correction for few rows.

    right: (rows, labels) bool. Where the rows are too few for the coverage the quantile is 1: sets of all labels.
    """
    rows = len(probabilities)
    rank = int(np.ceil((rows + 1) * coverage))
    if rank > rows:
        return {"coverage": coverage, "quantile": 1.0}
    of_right = np.where(right, probabilities, 0).max(axis=1)
    sums = np.where(probabilities > of_right[:, None], probabilities, 0).sum(axis=1)
    return {"coverage": coverage, "quantile": min(1.0, float(np.sort(sums)[rank - 1]) + 1e-9)}


def rows_for_coverage(coverage: float) -> int:
    """The fewest rows that can hold a coverage."""
    return int(np.ceil(round(coverage / (1 - coverage), 9)))


def write_calibration(folder: Path, content: dict, detector: UnknownDetector) -> None:
    """The class means first: a calibration.json without them would not load."""
    if detector.centers is not None:
        with replacing(folder / CENTERS_FILE) as partial, partial.open("wb") as file:
            np.save(file, detector.centers.astype(np.float16), allow_pickle=False)
    write_json(folder / CALIBRATION_FILE, content)
    if detector.centers is None:
        (folder / CENTERS_FILE).unlink(missing_ok=True)
