"""What the page shows of an answer, as HTML: the verdict in words, the category path, bars, tables. No gradio here."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image

from ..classifier import Classifier
from ..images import ImageError, ImageSource, load_image
from ..prediction import Prediction
from ..screenshots import Decode
from ..service import Answer, Products
from ..titles import BOTH
from .rendering import count, data_url, render

THUMBNAIL = 96  # pixels, shown at half the size: phones have two or three pixels per CSS pixel
THUMBNAIL_QUALITY = 70
PAGE_WIDTH = 720
HEAT_WIDTH = 640
STATUSES = {"ok": "Publish", "review": "Needs review", "unknown": "Unknown product", "error": "Not readable"}
UNCALIBRATED = "Best guess"
ASKED = 2  # labels that a question offers


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a batch. thumbnail: a data-URL, "" where the image cannot be read."""

    name: str
    thumbnail: str
    prediction: Prediction


def verdict_reason(prediction: Prediction, classifier: Classifier) -> str:
    """Why the verdict is what it is, and what to do."""
    calibration = classifier.calibration
    if calibration is None:
        return "Nobody has measured yet how often this model is right, so please check; calibrate.py measures it."
    if prediction.status == "ok":
        precision = f"{100 * calibration.target_precision:.3g}"
        return f"Certain enough for the catalogue. Answers this certain are right {precision} times in 100."
    if prediction.status == "review" and prediction.published_path:
        return f"It's {lowered(prediction.published_path[-1])}: {question(prediction, classifier)}"
    if prediction.status == "review" and prediction.answered_from == BOTH:
        return "Image and title do not say the same with enough certainty. Please pick the category."
    if prediction.status == "review":
        return "Not certain enough to publish. Please pick the category."
    return "It does not look like anything that this model has learned."


def question(prediction: Prediction, classifier: Classifier) -> str:
    """What a person has to tell apart: the most probable labels inside the category that is certain."""
    path_of = dict(zip(classifier.labels, classifier.taxonomy.paths, strict=True))
    certain = prediction.published_path
    inside = [label for label, _ in prediction.top_k if path_of.get(label, [])[: len(certain)] == certain]
    names = [lowered(label) for label in inside[:ASKED]]
    return f"{' or '.join(names)}?" if len(names) > 1 else "please pick the exact category."


def lowered(name: str) -> str:
    """A category inside a sentence; abbreviations such as "USB Cable" stay."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def badges(calibrated: bool) -> dict[str, tuple[str, str]]:
    """For each status its kind, which is a class of CSS, and its name."""
    names = {status: (status, name) for status, name in STATUSES.items()}
    return names if calibrated else {**names, "review": ("guess", UNCALIBRATED)}


def answer_card(answer: Answer, classifier: Classifier, with_name: bool) -> Markup:
    """The whole answer for one image. with_name: two models stand side by side."""
    return render(
        "answer",
        answer=answer,
        prediction=answer.prediction,
        verdict=badges(classifier.calibration is not None)[answer.prediction.status],
        reason=verdict_reason(answer.prediction, classifier),
        num_labels=len(classifier.labels),
        with_name=with_name,
    )


def side_by_side(cards: Sequence[Markup]) -> Markup:
    return render("side_by_side", cards=cards)


def message(kind: str, heading: str, details: str = "") -> Markup:
    """An empty state ("empty") or an error ("error"), which screen readers announce."""
    return render("message", kind=kind, heading=heading, details=details)


def figure(image: Image.Image, alt: str, caption: str, longest: int = HEAT_WIDTH) -> Markup:
    return render("figure", source=data_url(image, longest), alt=alt, caption=caption)


def thumbnail(source: ImageSource | ImageError, decode: Decode = load_image) -> str:
    """A small image of a file as a data-URL; "" where it cannot be read, which its row says in words."""
    if isinstance(source, ImageError):
        return ""
    try:
        return data_url(decode(source, THUMBNAIL), THUMBNAIL, THUMBNAIL_QUALITY)
    except ImageError:
        return ""


def outlined_page(screenshot: Products) -> Markup:
    """The screenshot with a numbered outline around each product."""
    page = screenshot.screenshot
    longest = round(PAGE_WIDTH * max(1, page.height / page.width))
    return render(
        "outlined_page",
        page=page,
        source=data_url(page.image, longest),
        products=screenshot.products,
        badge_size=page.width * 0.075,
    )


def products_table(screenshot: Products, calibrated: bool) -> Markup:
    products = screenshot.products
    thumbnails = [data_url(product.image, THUMBNAIL, THUMBNAIL_QUALITY) for product in products]
    return render(
        "products_table",
        rows=list(zip(products, thumbnails, strict=True)),
        found=count(len(products), "product"),
        milliseconds=1000 * screenshot.seconds,
        badges=badges(calibrated),
    )


def batch_table(rows: Sequence[Row], calibrated: bool) -> Markup:
    """A table that assets/page.js sorts and filters: data-value is what a cell sorts by."""
    counts = {status: sum(row.prediction.status == status for row in rows) for status in STATUSES}
    return render("batch_table", rows=rows, counts=counts, badges=badges(calibrated))
