"""How far a model can be trusted: calibration.json beside it, written by calibrate.py and applied here; NumPy only.

    calibration = Calibration.load(Path("app/models/fashion"), labels, taxonomy)

The file holds a temperature for the softmax (Guo et al. 2017); for each category of each taxonomy level the least
confidence at which answers reach the target precision (null if none does); how to tell out-of-distribution images; and
the quantile for prediction sets (Romano et al. 2020).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError

CALIBRATION_FILE = "calibration.json"
CENTERS_FILE = "unknown_centres.npy"
VERSION = 1
UNKNOWN_METHODS = ("energy", "centres")


class CalibrationError(UserError):
    """A calibration that cannot be used or belongs to another model. The message is one line."""


@dataclass(frozen=True, slots=True, eq=False)
class UnknownDetector:
    """Scores how little an image looks like what the model was trained on.

    method: "energy" (Liu et al. 2020: minus the log of the sum of the exponentials of the logits) or "centres" (the
        same plus `weight` times the cosine distance of the embedding to the nearest of `centers`).
    threshold: the lowest score that means unknown. A logistic function around `middle` with the scale `width` maps the
        raw value to a score in [0, 1].
    centers: (centers, dim) float32 of length 1; None for "energy".
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
        if self.centers is not None:
            assert embeddings is not None  # model_files.py checks that the graph has them
            raw = raw + self.weight * center_distance(embeddings, self.centers)
        return 1 / (1 + np.exp(np.clip((self.middle - raw) / self.width, -60, 60)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The content of calibration.json, checked against a model's labels and taxonomy.

    thresholds: for each level of the taxonomy the least confidence by category; None if no confidence is enough.
    prediction_set_quantile: of split conformal prediction; None if calibrate.py ran without --coverage.
    content: the whole file.
    """

    temperature: float
    target_precision: float
    thresholds: list[dict[str, float | None]]
    unknown: UnknownDetector | None = None
    prediction_set_quantile: float | None = None
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, levels: Sequence[str], paths: Sequence[Sequence[str]]) -> "Calibration | None":
        """The folder's calibration, None if it has none. Raises CalibrationError.

        levels: the names of the taxonomy's levels. paths: each label's path through them.
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
            problem = f"{type(error).__name__}: {error}"
            raise CalibrationError(f"{path} is not what calibrate.py writes ({problem})") from None

    def prediction_set(self, probabilities: np.ndarray) -> np.ndarray:
        """Ids of labels, best first, that include the true one as often as calibrate.py --coverage asked for.

        Adaptive prediction sets (Romano et al. 2020) without randomization: a label is in if the sum of the
        probabilities above it does not exceed the quantile, so the best label always is. probabilities: (labels,).
        """
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        return order[before <= self.prediction_set_quantile]


def energy(logits: np.ndarray) -> np.ndarray:
    """(rows, labels) logits -> (rows,) float64; the higher, the less familiar the image (Liu et al. 2020)."""
    logits = logits.astype(np.float64)
    largest = logits.max(axis=1)
    return -(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))


def center_distance(embeddings: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """1 - cosine of each embedding to the nearest center: (rows,) float32. embeddings: (rows, dim) of any length."""
    return 1 - (normalized(embeddings) @ centers.T).max(axis=1)


def normalized(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays as it is."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(length, np.finfo(np.float32).tiny)


def model_hash(path: Path) -> str:
    """SHA-256 of the graph that a calibration was made for."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, error_type: type[UserError]) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises error_type with one line that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise error_type(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise error_type(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _check_model(content: Mapping[str, Any], folder: Path) -> None:
    expected_hash = content.get("model_sha256")
    if expected_hash is not None and expected_hash != model_hash(folder / "model.onnx"):
        raise CalibrationError("it was made for another model.onnx than the one beside it")


def _thresholds(
    thresholds: Mapping[str, Mapping[str, float | None]], levels: Sequence[str], paths: Sequence[Sequence[str]]
) -> list[dict[str, float | None]]:
    """One dict per level. Every category must be there: a missing one would never be answered, without a word."""
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


def _detector(unknown: Mapping[str, Any] | None, folder: Path) -> UnknownDetector | None:
    if unknown is None:
        return None
    if unknown["method"] not in UNKNOWN_METHODS:
        raise CalibrationError(f"the unknown method {unknown['method']!r} is not one of {', '.join(UNKNOWN_METHODS)}")
    with_centers = unknown["method"] == "centres"
    return UnknownDetector(
        method=unknown["method"],
        threshold=float(unknown["threshold"]),
        middle=float(unknown["middle"]),
        width=_positive(unknown["width"], "width"),
        weight=float(unknown["weight"]) if with_centers else 0.0,
        centers=_read_centers(folder / CENTERS_FILE) if with_centers else None,
    )


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
