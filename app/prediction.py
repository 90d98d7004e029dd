"""What a model says about one image, and the one way in which it becomes JSON or a row of a table."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .images import ErrorKind

CSV_COLUMNS = (
    "label",
    "confidence",
    "category_path",
    "status",
    "best_label",
    "best_confidence",
    "unknown_score",
    "error",
)
PATH_SEPARATOR = " > "
DIGITS = 6


class ScoredLabel(NamedTuple):
    """A label and its probability in [0, 1]."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one image.

    status: "ok": `label` is certain enough to publish (always so for a model without calibration). "review": it is
        not; `label` is the deepest category that is, None if none is. "unknown": not a product that the model knows;
        `label` is None. "error": the image cannot be read; only `error` is set, one line with the reason.
    confidence: of `label`; of the model's best label where `label` is None.
    category_path: the path through the taxonomy down to `label`, broad to narrow; [label] for a model without one.
    path_confidences: for each level of category_path the sum of the confidences of all labels below it.
    top_k: the model's most probable labels whatever the status, best first.
    unknown_score: in [0, 1], the higher, the less the image looks like the training images; None without calibration.
    error_kind: what a server tells its clients apart by; only with status "error", and in no output.
    prediction_set: the labels that contain the true one with the coverage given to calibrate.py --coverage.
    """

    status: str = "ok"
    label: str | None = None
    confidence: float | None = None
    category_path: list[str] = field(default_factory=list)
    path_confidences: list[float] = field(default_factory=list)
    top_k: list[ScoredLabel] = field(default_factory=list)
    unknown_score: float | None = None
    prediction_set: list[str] = field(default_factory=list)
    error: str | None = None
    error_kind: ErrorKind | None = None

    def to_dict(self, digits: int = DIGITS, top_k: int | None = None) -> dict[str, Any]:
        """For JSON and Parquet. digits: to which confidences are rounded. top_k: how many labels, all by default."""
        return {
            "label": self.label,
            "confidence": rounded(self.confidence, digits),
            "category_path": self.category_path,
            "path_confidences": [round(confidence, digits) for confidence in self.path_confidences],
            "top_k": [
                {"label": label, "confidence": round(confidence, digits)} for label, confidence in self.top_k[:top_k]
            ],
            "prediction_set": self.prediction_set,
            "status": self.status,
            "unknown_score": rounded(self.unknown_score, digits),
            "error": self.error,
        }

    def to_csv_row(self, digits: int = DIGITS) -> dict[str, str | float | None]:
        """A cell for each of CSV_COLUMNS; `best_label` is the most probable label, which `label` is if status is ok."""
        best_label, best_confidence = self.top_k[0] if self.top_k else (None, None)
        return {
            "label": self.label,
            "confidence": rounded(self.confidence, digits),
            "category_path": PATH_SEPARATOR.join(self.category_path),
            "status": self.status,
            "best_label": best_label,
            "best_confidence": rounded(best_confidence, digits),
            "unknown_score": rounded(self.unknown_score, digits),
            "error": self.error,
        }


def rounded(number: float | None, digits: int = DIGITS) -> float | None:
    return None if number is None else round(number, digits)
