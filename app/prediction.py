"""What a model says about one image, and the one way in which it becomes JSON or a row of a table."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .images import ErrorKind
from .taxonomy import PATH_SEPARATOR

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
ANSWERED_FROM = "answered_from"  # a column where titles are read
ATTRIBUTES = "attributes"
ATTRIBUTE_SUFFIXES = ("", "_confidence", "_status")  # of an attribute's columns, after its name
DIGITS = 6


class ScoredLabel(NamedTuple):
    """A label and its probability in [0, 1]."""

    label: str
    confidence: float


class Attribute(NamedTuple):
    """What the model says of one attribute of a product, such as its color.

    status: "ok": publish `label`. "review": a person should pick it. "unknown": the image is not of a known product.
    """

    label: str
    confidence: float
    status: str


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
    answered_from: "image", "title" or "both" for a product that was given with its title, even an empty one; None for
        an image alone. With "title", `error` says why the image was not used.
    attributes: by name; empty for a model without attributes, and where there is no image to see them on.
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
    answered_from: str | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)

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
            **self._optional(),
            **self._attributes(digits),
        }

    def to_csv_row(self, digits: int = DIGITS) -> dict[str, str | float | None]:
        """A cell for each of CSV_COLUMNS; `published_confidence` is that of the last category of `published_path`.

        What only some answers have follows, each attribute in three cells.
        """
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
            **self._optional(),
            **self.attribute_cells(digits),
        }

    def attribute_cells(self, digits: int = DIGITS) -> dict[str, str | float | None]:
        """A cell for each of attribute_columns."""
        values = [
            value
            for attribute in self.attributes.values()
            for value in (attribute.label, round(attribute.confidence, digits), attribute.status)
        ]
        return dict(zip(attribute_columns(self.attributes), values, strict=True))

    def _attributes(self, digits: int) -> dict[str, Any]:
        if not self.attributes:
            return {}
        return {
            ATTRIBUTES: {
                name: attribute._asdict() | {"confidence": round(attribute.confidence, digits)}
                for name, attribute in self.attributes.items()
            }
        }

    def _optional(self) -> dict[str, Any]:
        """What only some answers have: the others look as if it did not exist."""
        return {} if self.answered_from is None else {ANSWERED_FROM: self.answered_from}


def rounded(number: float | None, digits: int = DIGITS) -> float | None:
    return None if number is None else round(number, digits)


def attribute_columns(names: Iterable[str]) -> list[str]:
    """The columns of a table for these attributes: NAME, NAME_confidence, NAME_status."""
    return [name + suffix for name in names for suffix in ATTRIBUTE_SUFFIXES]
