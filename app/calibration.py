"""How far a model can be trusted: calibration.json beside it, written by calibrate.py and applied here; NumPy only.

    calibration = Calibration.load(Path("app/models/fashion"), levels, paths)
    decision = decide(calibration, taxonomy, probabilities, unknown_score)     # what may be published, and how deep

The file holds the temperature and the floor of the softmax (app/probabilities.py); for each category of each taxonomy
level the least confidence at which answers reach the target precision (null if none does); how to tell
out-of-distribution images; and the quantile for prediction sets (Romano et al. 2020).
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import UserError, one_line
from .model_json import is_number, read_json, shown
from .probabilities import Softmax, read_floor
from .taxonomy import category_names

if TYPE_CHECKING:
    from .taxonomy import Taxonomy

CALIBRATION_FILE = "calibration.json"
CENTERS_FILE = "unknown_centres.npy"
VERSION = 1
UNKNOWN_METHODS = ("energy", "centres", "head")
NPY_MAGIC = b"\x93NUMPY"
HEAD_EXTRAS = 3  # what a head reads after the embedding: energy, largest logit, length of the embedding


class CalibrationError(UserError):
    """A calibration that cannot be used or belongs to another model. The message is one line."""


@dataclass(frozen=True, slots=True, eq=False)
class UnknownDetector:
    """Scores how little an image looks like what the model was trained on.

    method: "energy" (Liu et al. 2020: minus the log of the sum of the exponentials of the logits), "centres" (the
        same plus `weight` times the cosine distance of the embedding to the nearest of `centers`) or "head" (a
        logistic regression between known images and others, after Hendrycks et al. 2019, "Outlier exposure").
    threshold: the lowest score that means unknown. A logistic function around `middle` with the scale `width` maps the
        raw value to a score in [0, 1].
    centers: (centers, dim) float32 of length 1; None for the other methods.
    head: (dim + HEAD_EXTRAS,) float64, the weights of `head_inputs`; None for the other methods.
    """

    method: str
    threshold: float
    middle: float
    width: float
    weight: float = 0.0
    centers: np.ndarray | None = None
    head: np.ndarray | None = None

    @property
    def embedding_size(self) -> int | None:
        """The length of the embeddings that it reads; None if it reads the logits alone."""
        if self.head is not None:
            return len(self.head) - HEAD_EXTRAS
        return None if self.centers is None else self.centers.shape[1]

    def scores(self, logits: np.ndarray, embeddings: np.ndarray | None) -> np.ndarray:
        """(rows,) float64 in [0, 1]. logits: (rows, labels) float32; embeddings: (rows, dim) of any length."""
        if self.head is not None:
            assert embeddings is not None  # model_files.py checks that the graph has them
            raw = head_inputs(logits, embeddings) @ self.head
        elif self.centers is not None:
            assert embeddings is not None
            raw = energy(logits) + self.weight * center_distance(embeddings, self.centers)
        else:
            raw = energy(logits)
        return 1 / (1 + np.exp(np.clip((self.middle - raw) / self.width, -60, 60)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The content of calibration.json, checked against a model's labels and taxonomy.

    thresholds: for each level of the taxonomy the least confidence by category; None if no confidence is enough.
    prediction_set_quantile: of split conformal prediction; None if calibrate.py ran without --coverage.
    floor: as in app.probabilities.Softmax.
    content: the whole file.
    """

    temperature: float
    target_precision: float
    thresholds: list[dict[str, float | None]]
    unknown: UnknownDetector | None = None
    prediction_set_quantile: float | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    floor: np.ndarray | None = None

    @classmethod
    def load(cls, folder: Path, levels: Sequence[str], paths: Sequence[Sequence[str]]) -> "Calibration | None":
        """The folder's calibration, None if it has none or that of another model. Raises CalibrationError.

        levels: the names of the taxonomy's levels. paths: each label's path through them.
        """
        path = folder / CALIBRATION_FILE
        if not path.exists():
            return None
        content = read_json(path, CalibrationError)
        try:
            if content["version"] != VERSION:
                raise CalibrationError(f"version {shown(content['version'])} is not {VERSION}")
            if is_of_other_model(content.get("model_sha256"), folder):
                print(
                    f"{path} was made for another model.onnx than the one beside it: it is not used; run calibrate.py "
                    "on this model again",
                    file=sys.stderr,
                )
                return None
            conformal = content.get("conformal")
            return cls(
                temperature=_positive(content["temperature"], "temperature"),
                target_precision=_share(content["target_precision"], "target_precision"),
                thresholds=read_thresholds(content["thresholds"], levels, paths),
                unknown=_detector(content.get("unknown"), folder),
                prediction_set_quantile=_share(conformal["quantile"], "conformal quantile") if conformal else None,
                content=content,
                floor=read_floor(content.get("floor"), len(paths)),
            )
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}; run calibrate.py on this model again, or delete it") from None
        except (KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {one_line(error)}"
            raise CalibrationError(f"{path} is not what calibrate.py writes ({problem})") from None

    @property
    def softmax(self) -> Softmax:
        return Softmax(self.temperature, self.floor)

    def prediction_set(self, probabilities: np.ndarray) -> np.ndarray:
        """Ids of labels, best first, that include the true one as often as calibrate.py --coverage asked for.

        Adaptive prediction sets (Romano et al. 2020) without randomization: a label is in if the sum of the
        probabilities above it does not exceed the quantile, so the best label always is. probabilities: (labels,).
        """
        order = np.argsort(-probabilities, kind="stable")
        if self.prediction_set_quantile is not None and self.prediction_set_quantile >= 1:
            return order  # rounding must not leave a label out
        before = np.cumsum(probabilities[order]) - probabilities[order]
        return order[before <= self.prediction_set_quantile]


class Decision(NamedTuple):
    """status: as in Prediction. path: the deepest category that is certain enough, from the broadest level down, empty
    where none is. confidences: for each level of `path`."""

    status: str
    path: list[str]
    confidences: list[float]


def decide(
    calibration: Calibration | None, taxonomy: "Taxonomy", probabilities: np.ndarray, unknown_score: float | None
) -> Decision:
    """What may be published of an answer. Nothing is "ok" without a calibration: nobody knows how often it is right.

    probabilities: (labels,) float64, calibrated.
    """
    if calibration is None:
        return Decision("review", [], [])
    detector = calibration.unknown
    if detector and unknown_score is not None and unknown_score >= detector.threshold:
        return Decision("unknown", [], [])
    deepest = len(taxonomy.levels) - 1
    for level in reversed(range(deepest + 1)):
        label_id, confidence = taxonomy.best(probabilities, level)
        threshold = calibration.thresholds[level][taxonomy.categories[level][label_id]]
        if threshold is not None and confidence >= threshold:
            confidences = taxonomy.path_confidences(probabilities, label_id)[: level + 1]
            status = "ok" if taxonomy.is_whole(label_id, level) else "review"
            return Decision(status, taxonomy.paths[label_id][: level + 1], confidences)
    return Decision("review", [], [])


def head_inputs(logits: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """(rows, dim + HEAD_EXTRAS) float64: the embedding at length 1, the energy, the largest logit, its length."""
    embeddings = embeddings.astype(np.float64)
    length = np.linalg.norm(embeddings, axis=1)
    return np.column_stack([normalized(embeddings), energy(logits), logits.max(axis=1), length])


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
    status = path.stat()
    return _hash_of(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)  # several files of a folder name the same graph, and each look at it takes 4 ms
def _hash_of(path: Path, *_: int) -> str:
    """The numbers change when the file does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_of_other_model(expected_hash: str | None, folder: Path) -> bool:
    """Whether what names this hash as its parent was made for another graph; what names none may be used."""
    return expected_hash is not None and expected_hash != model_hash(folder / "model.onnx")


def read_thresholds(
    thresholds: Mapping[str, Mapping[str, float | None]], levels: Sequence[str], paths: Sequence[Sequence[str]]
) -> list[dict[str, float | None]]:
    """One dict per level. Raises CalibrationError for a missing category, which would silently never be answered."""
    for depth, level in enumerate(levels):
        if level not in thresholds:
            raise CalibrationError(f"it has no thresholds for the level {level!r} of the model's taxonomy")
        missing = sorted(set(category_names(paths, depth)) - set(thresholds[level]))
        if missing:
            raise CalibrationError(f"it has no threshold for {len(missing)} of {level}: {', '.join(missing[:5])}")
        for category, confidence in thresholds[level].items():
            if confidence is not None:
                _share(confidence, f"the threshold of {shown(category)}")
    return [dict(thresholds[level]) for level in levels]


def _detector(unknown: Mapping[str, Any] | None, folder: Path) -> UnknownDetector | None:
    if unknown is None:
        return None
    if unknown["method"] not in UNKNOWN_METHODS:
        raise CalibrationError(
            f"the unknown method {shown(unknown['method'])} is not one of {', '.join(UNKNOWN_METHODS)}"
        )
    with_centers = unknown["method"] == "centres"
    return UnknownDetector(
        method=unknown["method"],
        threshold=_number(unknown["threshold"], "the unknown threshold"),
        middle=_number(unknown["middle"], "middle"),
        width=_positive(unknown["width"], "width"),
        weight=_number(unknown["weight"], "weight") if with_centers else 0.0,
        centers=_read_centers(folder / CENTERS_FILE) if with_centers else None,
        head=_head(unknown["head"]) if unknown["method"] == "head" else None,
    )


def _head(weights: object) -> np.ndarray:
    if not isinstance(weights, list) or len(weights) <= HEAD_EXTRAS or not all(map(is_number, weights)):
        raise CalibrationError(f"the unknown head must be a list of more than {HEAD_EXTRAS} numbers")
    return np.array(weights, dtype=np.float64)


def _read_centers(path: Path) -> np.ndarray:
    centers = read_numbers(path, CalibrationError)
    if centers.ndim != 2:
        raise CalibrationError(f"{path.name} must hold a table, not {centers.ndim} axes")
    return normalized(centers.astype(np.float32))


def read_numbers(path: Path, error_type: type[UserError]) -> np.ndarray:
    """The finite numbers in a .npy file of a model folder. Raises error_type, which names the file."""
    try:
        with path.open("rb") as file:
            if file.read(len(NPY_MAGIC)) != NPY_MAGIC:  # NumPy would open a zip or a pickle, too
                raise ValueError("not a .npy file")
        # Mapped, the file must be as large as its header says; otherwise a header of 100 GB takes 100 GB.
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, OverflowError, EOFError) as error:
        raise error_type(f"{path.name} cannot be read ({one_line(error)})") from None
    if not numbers.size or numbers.dtype.kind != "f" or not np.isfinite(numbers).all():
        raise error_type(f"{path.name} must hold a table of finite numbers, not {numbers.dtype} {numbers.shape}")
    return numbers


def _positive(value: float, name: str) -> float:
    if not is_number(value) or value <= 0:
        raise CalibrationError(f"{name} is {shown(value)}; it must be a number above 0")
    return float(value)


def _share(value: float, name: str) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise CalibrationError(f"{name} is {shown(value)}; it must be a number from 0 to 1")
    return float(value)


def _number(value: float, name: str) -> float:
    if not is_number(value):
        raise CalibrationError(f"{name} is {shown(value)}; it must be a number")
    return float(value)
