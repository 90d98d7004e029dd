"""What a model says about one image, and the one way in which it becomes JSON or a row of a table."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .images import ErrorKind

CSV_COLUMNS = (
    "label",
    "confidence",
    "category_path",
    "status",
    "published_path",
    "published_confidence",
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

    status: what to do with it. "ok": publish `label`. "review": a person should pick the label; `published_path` may
        be published until then. It is always this for a model without calibration: run calibrate.py. "unknown": not a
        product that the model knows. "error": the image cannot be read; only `error` is set, one line with the reason.
    label: the most probable label, whatever the status; None only with status "error".
    confidence: of `label`, in [0, 1].
    category_path: the path through the taxonomy down to `label`, broad to narrow; [label] for a model without one.
    path_confidences: for each level of category_path the sum of the confidences of all labels below it.
    published_path: the deepest category that is certain enough to publish, with the path to it; all of category_path
        with status "ok", empty where no level is certain enough.
    published_confidences: for each level of published_path.
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
    published_path: list[str] = field(default_factory=list)
    published_confidences: list[float] = field(default_factory=list)
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
            "published_path": self.published_path,
            "published_confidences": [round(confidence, digits) for confidence in self.published_confidences],
            "top_k": [
                {"label": label, "confidence": round(confidence, digits)} for label, confidence in self.top_k[:top_k]
            ],
            "prediction_set": self.prediction_set,
            "status": self.status,
            "unknown_score": rounded(self.unknown_score, digits),
            "error": self.error,
        }

    def to_csv_row(self, digits: int = DIGITS) -> dict[str, str | float | None]:
        """A cell for each of CSV_COLUMNS; `published_confidence` is that of the last category of `published_path`."""
        published = self.published_confidences[-1] if self.published_confidences else None
        return {
            "label": self.label,
            "confidence": rounded(self.confidence, digits),
            "category_path": PATH_SEPARATOR.join(self.category_path),
            "status": self.status,
            "published_path": PATH_SEPARATOR.join(self.published_path),
            "published_confidence": rounded(published, digits),
            "unknown_score": rounded(self.unknown_score, digits),
            "error": self.error,
        }


def rounded(number: float | None, digits: int = DIGITS) -> float | None:
    return None if number is None else round(number, digits)
