"""How far a model can be trusted: calibration.json beside it, written by calibrate.py and applied here; NumPy only.

    calibration = Calibration.load(Path("app/models/fashion"), labels, taxonomy)

The file holds a temperature for the softmax (Guo et al. 2017), for each category of each taxonomy level the confidence
from which on an answer reaches the target precision (null: no confidence does), how to tell images of things that the
model does not know, and the quantile for prediction sets (Romano et al. 2020).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CALIBRATION_FILE = "calibration.json"
CENTERS_FILE = "unknown_centres.npy"
VERSION = 1
UNKNOWN_METHODS = ("energy", "centres")


class CalibrationError(ValueError):
    """A calibration that cannot be used or belongs to another model. The message is one line."""


@dataclass(frozen=True, slots=True, eq=False)
class UnknownDetector:
    """Scores how little an image looks like what the model was trained on.

    method: "energy" (Liu et al. 2020: minus the log of the sum of the exponentials of the logits) or "centres" (the
        same, plus `weight` times the cosine distance of the embedding to the nearest of `centers`).
    threshold: scores from here on mean unknown. The raw figure becomes a score in [0, 1] by a logistic function around
        `middle` with the width `width`.
    centres: (centres, dim) float32 of length 1.
    """

    method: str
    threshold: float
    middle: float
    width: float
    weight: float = 0.0
    centers: np.ndarray | None = None

    def scores(self, logits: np.ndarray, embeddings: np.ndarray | None) -> np.ndarray:
        """(rows,) float64 in [0, 1]. logits: (rows, labels) float32; embeddings: (rows, dim) of any length."""
        raw = energy(logits)
        if self.method == "centres":
            raw = raw + self.weight * center_distance(embeddings, self.centers)
        return 1 / (1 + np.exp(np.clip((self.middle - raw) / self.width, -60, 60)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The content of calibration.json, checked against a model's labels and taxonomy.

    thresholds: for each level of the taxonomy, by the category's name, the least confidence; None: never sure.
    prediction_set_quantile: of split conformal prediction; None where calibrate.py ran without --coverage.
    content: the file as it is.
    """

    temperature: float
    target_precision: float
    thresholds: list[dict[str, float | None]]
    unknown: UnknownDetector | None = None
    prediction_set_quantile: float | None = None
    content: Mapping = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, levels: Sequence[str], paths: Sequence[Sequence[str]]) -> "Calibration | None":
        """The folder's calibration, None where it has none. Raises CalibrationError.

        levels: the names of the taxonomy's levels. paths: for each label its path through them.
        """
        path = folder / CALIBRATION_FILE
        if not path.exists():
            return None
        content = read_json(path, CalibrationError)
        try:
            if content["version"] != VERSION:
                raise CalibrationError(f"version {content['version']!r} is not {VERSION}")
            _check_model(content, folder)
            conformal = content.get("conformal")
            return cls(
                temperature=_positive(content["temperature"], "temperature"),
                target_precision=_share(content["target_precision"], "target_precision"),
                thresholds=_thresholds(content["thresholds"], levels, paths),
                unknown=_detector(content.get("unknown"), folder),
                prediction_set_quantile=_share(conformal["quantile"], "conformal quantile") if conformal else None,
                content=content,
            )
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}; run calibrate.py on this model again, or delete it") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(
                f"{path} is not what calibrate.py writes ({type(error).__name__}: {error})"
            ) from None

    def prediction_set(self, probabilities: np.ndarray) -> np.ndarray:
        """Ids of the labels, best first, that hold the true one as often as calibrate.py --coverage asked for.

        Adaptive prediction sets (Romano et al. 2020) without their randomisation: a label is in where the sum of the
        probabilities above it does not exceed the quantile, so the best label always is. probabilities: (labels,).
        """
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        return order[before <= self.prediction_set_quantile]


def energy(logits: np.ndarray) -> np.ndarray:
    """(rows, labels) -> (rows,) float64; the higher, the less the model knows the image (Liu et al. 2020)."""
    logits = logits.astype(np.float64)
    largest = logits.max(axis=1)
    return -(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))


def center_distance(embeddings: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """1 - cosine of each embedding to the nearest centre: (rows,) float32. embeddings: (rows, dim) of any length."""
    return 1 - (normalized(embeddings) @ centers.T).max(axis=1)


def normalized(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(length, np.finfo(np.float32).tiny)


def model_hash(path: Path) -> str:
    """Names the graph that a calibration was made for."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, error_type: type[ValueError]) -> dict:
    """The JSON object in a file of a model folder. Raises error_type with one line that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise error_type(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise error_type(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _check_model(content: Mapping, folder: Path) -> None:
    wanted = content.get("model_sha256")
    if wanted is not None and wanted != model_hash(folder / "model.onnx"):
        raise CalibrationError("it was made for another model.onnx than the one beside it")


def _thresholds(thresholds: Mapping, levels: Sequence[str], paths: Sequence[Sequence[str]]) -> list[dict]:
    """One dict a level. Every category must be there: a missing one would silently never be sure."""
    for depth, level in enumerate(levels):
        if level not in thresholds:
            raise CalibrationError(f"it has no thresholds for the level {level!r} of the model's taxonomy")
        missing = sorted({path[depth] for path in paths} - set(thresholds[level]))
        if missing:
            raise CalibrationError(f"it has no threshold for {len(missing)} of {level}: {', '.join(missing[:5])}")
        for category, confidence in thresholds[level].items():
            if confidence is not None:
                _share(confidence, f"the threshold of {category}")
    return [dict(thresholds[level]) for level in levels]


def _detector(unknown: Mapping | None, folder: Path) -> UnknownDetector | None:
    if unknown is None:
        return None
    if unknown["method"] not in UNKNOWN_METHODS:
        raise CalibrationError(f"the unknown method {unknown['method']!r} is none of {', '.join(UNKNOWN_METHODS)}")
    numbers = {key: float(unknown[key]) for key in ("threshold", "middle")}
    width = _positive(unknown["width"], "width")
    if unknown["method"] == "energy":
        return UnknownDetector("energy", width=width, **numbers)
    centers = _read_centers(folder / CENTERS_FILE)
    return UnknownDetector("centres", width=width, weight=float(unknown["weight"]), centers=centers, **numbers)


def _read_centers(path: Path) -> np.ndarray:
    try:
        centers = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CalibrationError(f"{path.name} cannot be read ({error})") from None
    if centers.ndim != 2 or centers.dtype.kind != "f" or not np.isfinite(centers).all():
        raise CalibrationError(f"{path.name} must hold a table of finite numbers, not {centers.dtype} {centers.shape}")
    return normalized(centers.astype(np.float32))


def _positive(value: float, name: str) -> float:
    if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise CalibrationError(f"{name} is {value!r}; it must be a number above 0")
    return float(value)


def _share(value: float, name: str) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise CalibrationError(f"{name} is {value!r}; it must be a number from 0 to 1")
    return float(value)
