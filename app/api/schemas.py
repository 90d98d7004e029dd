"""What the REST API answers, as /docs and openapi.json describe it."""

from typing import Any, Literal

from pydantic import BaseModel, Field


def is_empty(value: Any) -> bool:
    """Models without attributes answer as if there were none anywhere."""
    return not value


class Score(BaseModel):
    label: str
    confidence: float = Field(ge=0, le=1)


class Attribute(Score):
    """Such as the color of a product."""

    status: Literal["ok", "review", "unknown"] = Field(description="ok: certain enough to publish")


class Prediction(BaseModel):
    """What the model says about one image; with status "error" only `error` is set."""

    status: Literal["ok", "review", "unknown", "error"]
    label: str | None = Field(description="the most probable label, whatever the status; null only for error")
    confidence: float | None = Field(ge=0, le=1, description="of label")
    category_path: list[str] = Field(description="from the broadest category down to label")
    path_confidences: list[float] = Field(description="for each level of category_path")
    published_path: list[str] = Field(
        description="the deepest category that is certain enough to publish; may be empty"
    )
    published_confidences: list[float] = Field(description="for each level of published_path")
    top_k: list[Score] = Field(description="the most probable labels, best first")
    prediction_set: list[str] = Field(description="contains the true label with the calibrated coverage, if calibrated")
    unknown_score: float | None = Field(description="the higher, the less the image looks like a known product")
    error: str | None = None
    answered_from: Literal["image", "title", "both"] | None = Field(
        default=None, description="only for products with titles; with title, `error` says why the image was not used"
    )
    attributes: dict[str, Attribute] = Field(
        default={}, exclude_if=is_empty, description="by name; only for a model with attributes"
    )


class Result(Prediction):
    """One file's."""

    file: str = Field(description="the name that came with the upload")


class Answer(BaseModel):
    model: str
    milliseconds: float = Field(description="from the end of the upload to the answer")
    results: list[Result] = Field(description="in the order of the files")


class Model(BaseModel):
    name: str
    default: bool
    labels: list[str]
    levels: list[str] = Field(description="of the taxonomy, from broad to narrow")
    image_size: tuple[int, int] = Field(description="height and width that the model reads, in pixels")
    precision: str
    calibrated: bool = Field(description="whether it can answer ok and unknown")
    attributes: dict[str, list[str]] = Field(
        default={}, exclude_if=is_empty, description="the labels of each attribute, for a model with attributes"
    )
    reads_titles: bool = Field(description="whether the products' titles may stand beside their images")


class Health(BaseModel):
    status: Literal["ok"]
    models: list[str]


class FileProblem(BaseModel):
    file: str
    reason: str


class Problem(BaseModel):
    """Every answer that is not a success."""

    code: str
    message: str
    files: list[FileProblem] = Field(default=[], description="the images that cannot be used, and why")
