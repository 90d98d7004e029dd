"""What the page shows of an answer, as HTML: the verdict in words, the category path, bars, tables. No gradio here.

Every text that comes from a caller or a model goes through `text`, so that a file's name cannot become markup.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from .classifier import Classifier, Prediction, ScoredLabel
from .images import ImageError, ImageSource, load_image
from .service import Answer, Product, Products

THUMBNAIL = 96  # pixels, shown at half the size: phones have two or three pixels for each of CSS's
PAGE_WIDTH = 720
HEAT_WIDTH = 640
STATUSES = {"ok": "Publish", "review": "Needs review", "unknown": "Unknown product", "error": "Not readable"}
UNCALIBRATED = "Best guess"


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a batch. thumbnail: a data-URL, "" where the image cannot be read."""

    name: str
    thumbnail: str
    prediction: Prediction


def text(value: object) -> str:
    return html.escape(str(value))


def percent(confidence: float | None) -> str:
    """Never 100% unless it is: "99.97" must not look certain."""
    if confidence is None:
        return "–"
    share = 100 * confidence
    if share >= 99.95:
        return "100%" if share >= 99.995 else ">99.9%"
    return f"{share:.1f}%" if share >= 10 else f"{share:.2g}%" if share >= 0.1 else "<0.1%"


def data_url(image: Image.Image, longest: int, quality: int = 80) -> str:
    """A JPEG of at most `longest` pixels a side."""
    image = image.copy()
    image.thumbnail((longest, longest))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def thumbnail(source: ImageSource | ImageError) -> str:
    """A small image of a file; "" where it cannot be read, which its row says in words."""
    if isinstance(source, ImageError):
        return ""
    try:
        return data_url(load_image(source, target_size=THUMBNAIL), THUMBNAIL, quality=70)
    except ImageError:
        return ""


# --- one image -----------------------------------------------------------------------------------------------------


def status_name(prediction: Prediction, calibrated: bool) -> str:
    return UNCALIBRATED if prediction.status == "ok" and not calibrated else STATUSES[prediction.status]


def verdict(prediction: Prediction, classifier: Classifier) -> tuple[str, str, str]:
    """(kind, what to do, why): kind is a status, or "guess" for a model that has no thresholds."""
    calibration = getattr(classifier, "calibration", None)
    if prediction.status == "ok" and calibration is None:
        return "guess", UNCALIBRATED, "This model has no thresholds yet, so please check the answer yourself."
    if prediction.status == "ok":
        share = getattr(calibration, "target_precision", None)
        right = f" Answers this sure are right {100 * share:.3g} times in 100." if share else ""
        return "ok", "Publish", f"Sure enough for the catalogue.{right}"
    if prediction.status == "review" and prediction.label:
        return "review", "Needs review", f"{prediction.label} is sure, the exact category is not. Please pick it."
    if prediction.status == "review":
        return "review", "Needs review", "Not sure enough to publish. Please pick the category."
    return "unknown", "Unknown product", "It does not look like anything that this model has learnt."


def answer_card(answer: Answer, classifier: Classifier, with_name: bool) -> str:
    """The whole answer for one image. with_name: two models stand side by side."""
    prediction = answer.prediction
    kind, heading, why = verdict(prediction, classifier)
    title = f'<h3 class="model-name">{text(answer.model)}</h3>' if with_name else ""
    facts = f"{1000 * answer.seconds:.0f} ms on this server · model {answer.model}, {len(classifier.labels)} categories"
    return (
        f'<article class="card answer">{title}'
        f'<p class="verdict {kind}"><strong>{heading}</strong><span>{text(why)}</span></p>'
        f"{headline(prediction)}{path(prediction)}"
        f'<h4>Most likely</h4>{bars(prediction.top_k)}<p class="facts">{text(facts)}</p></article>'
    )


def headline(prediction: Prediction) -> str:
    if not prediction.label:
        return ""
    confidence = percent(prediction.confidence)
    return f'<p class="headline">{text(prediction.label)} <span class="confidence">{confidence}</span></p>'


def path(prediction: Prediction) -> str:
    """The category path with the confidence of each level; nothing where no level is sure."""
    levels = zip(prediction.category_path, prediction.path_confidences, strict=True)
    steps = "".join(f"<li>{text(name)} <span>{percent(share)}</span></li>" for name, share in levels)
    return f'<ol class="path" aria-label="Category path">{steps}</ol>' if steps else ""


def bars(labels: Sequence[ScoredLabel]) -> str:
    """One bar a label, best first."""
    rows = "".join(
        f'<li><span class="name">{text(one.label)}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * one.confidence:.1f}%"></i></span>'
        f'<span class="number">{percent(one.confidence)}</span></li>'
        for one in labels
    )
    return f'<ol class="bars">{rows}</ol>'


def side_by_side(cards: Sequence[str]) -> str:
    return f'<div class="side-by-side">{"".join(cards)}</div>'


def message(kind: str, heading: str, more: str = "") -> str:
    """An empty state ("empty") or an error ("error"), which screen readers announce."""
    role = 'role="alert"' if kind == "error" else 'role="status"'
    return f'<div class="message {kind}" {role}><strong>{text(heading)}</strong><span>{text(more)}</span></div>'


def figure(image: Image.Image, alt: str, caption: str, longest: int = HEAT_WIDTH) -> str:
    source = data_url(image, longest)
    return f'<figure><img src="{source}" alt="{text(alt)}"><figcaption>{text(caption)}</figcaption></figure>'


# --- tables ----------------------------------------------------------------------------------------------------------


def badge(prediction: Prediction, calibrated: bool) -> str:
    kind = "guess" if prediction.status == "ok" and not calibrated else prediction.status
    return f'<span class="badge {kind}">{status_name(prediction, calibrated)}</span>'


def category(prediction: Prediction) -> str:
    """The category with the path to it, or in words why there is none."""
    if prediction.status == "error":
        return f'<span class="reason">{text(prediction.error)}</span>'
    if prediction.category_path:
        *above, name = (text(one) for one in prediction.category_path)
        return f'<strong>{name}</strong><span class="above">{" › ".join(above)}</span>'
    best = f"perhaps {prediction.top_k[0].label}" if prediction.top_k else "–"
    return f'<span class="reason">{text(best)}</span>'


def outlined_page(found: Products) -> str:
    """The screenshot with a numbered outline around each product."""
    page = found.page
    badge_size = page.width * 0.075
    marks = "".join(_outline(number, product, badge_size) for number, product in enumerate(found.products, start=1))
    alt = f"The screenshot with {len(found.products)} outlined products"
    return (
        f'<div class="outlined"><img src="{data_url(page, _longest(page))}" alt="{alt}">'
        f'<svg viewBox="0 0 {page.width} {page.height}" aria-hidden="true">{marks}</svg></div>'
    )


def _longest(page: Image.Image) -> int:
    return round(PAGE_WIDTH * max(1, page.height / page.width))


def _outline(number: int, product: Product, size: float) -> str:
    x, y, width, height = product.box
    return (
        f'<rect class="{product.prediction.status}" x="{x}" y="{y}" width="{width}" height="{height}" '
        f'rx="{size / 5:.0f}" stroke-width="{size / 10:.0f}"/>'
        f'<rect class="number-box" x="{x}" y="{y}" width="{size:.0f}" height="{size:.0f}" rx="{size / 5:.0f}"/>'
        f'<text x="{x + size / 2:.0f}" y="{y + 0.72 * size:.0f}" font-size="{0.62 * size:.0f}">{number}</text>'
    )


def products_table(found: Products, calibrated: bool) -> str:
    rows = "".join(
        f'<tr><td class="number">{number}</td>'
        f'<td><img src="{data_url(one.image, THUMBNAIL, 70)}" alt="Product {number}"></td>'
        f'<td data-label="Category">{category(one.prediction)}{_stock(one)}</td>'
        f'<td class="number" data-label="Confidence">{percent(one.prediction.confidence)}</td>'
        f'<td data-label="Verdict">{badge(one.prediction, calibrated)}</td></tr>'
        for number, one in enumerate(found.products, start=1)
    )
    names = (("No.", "number"), ("Product", ""), ("Category", ""), ("Confidence", "number"), ("Verdict", ""))
    heads = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in names)
    return (
        f'<table class="rows products"><caption>Products on the screenshot</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _stock(product: Product) -> str:
    return ' <span class="badge unknown">Out of stock</span>' if product.out_of_stock else ""


def batch_table(rows: Sequence[Row], calibrated: bool) -> str:
    """A table that assets/page.js sorts and filters: data-value is what a cell sorts by."""
    heads = (("Image", ""), ("File", "text"), ("Category", "text"), ("Confidence", "number"), ("Verdict", "text"))
    head = "".join(_sortable(name, kind) for name, kind in heads)
    body = "".join(_batch_row(row, calibrated) for row in rows)
    return (
        f'{_filters(rows, calibrated)}<table class="rows sortable"><caption>Images of this batch</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _sortable(name: str, kind: str) -> str:
    if not kind:
        return f'<th scope="col">{name}</th>'
    return f'<th scope="col" aria-sort="none"><button type="button" data-sort="{kind}">{name}</button></th>'


def _filters(rows: Sequence[Row], calibrated: bool) -> str:
    """Buttons that show the rows of one status only, with how many there are."""
    counts = {status: sum(row.prediction.status == status for row in rows) for status in STATUSES}
    buttons = [f'<button type="button" data-filter="" aria-pressed="true">All {len(rows)}</button>']
    for status, count in counts.items():
        if count:
            name = UNCALIBRATED if status == "ok" and not calibrated else STATUSES[status]
            buttons.append(f'<button type="button" data-filter="{status}" aria-pressed="false">{name} {count}</button>')
    return f'<div class="filters" role="group" aria-label="Show">{"".join(buttons)}</div>'


def _batch_row(row: Row, calibrated: bool) -> str:
    said = row.prediction
    image = f'<img src="{row.thumbnail}" alt="">' if row.thumbnail else '<span class="no-image">–</span>'
    value = said.confidence if said.confidence is not None else -1
    return (
        f'<tr data-status="{said.status}"><td>{image}</td>'
        f'<td data-label="File" data-value="{text(row.name)}" class="file">{text(row.name)}</td>'
        f'<td data-label="Category" data-value="{text(" ".join(said.category_path))}">{category(said)}</td>'
        f'<td data-label="Confidence" data-value="{value}" class="number">{percent(said.confidence)}</td>'
        f'<td data-label="Verdict" data-value="{status_name(said, calibrated)}">{badge(said, calibrated)}</td></tr>'
    )
