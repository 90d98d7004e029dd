"""What the page shows of one answer, as HTML: the verdict in words, candidates as buttons, errors. No gradio here."""

import json
from collections.abc import Sequence

from markupsafe import Markup
from PIL import Image

from ..classifier import Classifier
from ..limits import BusyError, NotAnImageError, RequestError, UnreadableError
from ..prediction import Prediction
from ..service import DIGITS, Answer
from ..titled import BOTH
from .display_names import display, in_a_sentence
from .rendering import data_url, render

HEAT_WIDTH = 640
STATUSES = {
    "ok": "Ready to publish",
    "review": "Please check",
    "unknown": "Not sure what this is",
    "error": "Couldn't be read",
}
UNCALIBRATED = "Best guess"
ASKED = 2  # labels that a question offers
LEAST = 0.01  # confidence of a candidate
SOURCES = {"image": "the photo alone", "title": "the title alone", BOTH: "photo and title"}
UNREADABLE = "Use a JPG, PNG, WebP or HEIC."


def verdict_reason(prediction: Prediction, classifier: Classifier) -> Markup:
    """Why the verdict is what it is, and what to do."""
    if prediction.status == "ok":
        return Markup("Sure enough for the catalogue.")
    if prediction.status == "unknown":
        return Markup("Closest match: {}").format(named(prediction.label)) if prediction.label else Markup("")
    if classifier.calibration is None:
        return Markup("Nobody has measured how often this model is right, so please check (calibrate.py measures it).")
    asked = question(prediction, classifier)
    if prediction.published_path:
        return Markup("It's {}. {}").format(in_words(prediction.published_path[-1]), asked)
    if prediction.answered_from == BOTH:
        return Markup("Photo and title don't quite agree. {}").format(asked)
    return asked


def question(prediction: Prediction, classifier: Classifier) -> Markup:
    """What a person has to tell apart: the most probable labels inside the category that is certain."""
    path_of = dict(zip(classifier.labels, classifier.taxonomy.paths, strict=True))
    certain = prediction.published_path
    inside = [label for label, _ in prediction.top_k if path_of.get(label, [])[: len(certain)] == certain]
    if len(inside) < ASKED:
        return Markup("Please pick the exact category.")
    first, second = inside[:ASKED]
    begins = in_a_sentence(first)
    return Markup("{} or {}?").format(named(first, begins[:1].upper() + begins[1:]), in_words(second))


def named(label: str, name: str | None = None) -> Markup:
    """A category by the name that people use; assets/names.js puts the visitor's own name there."""
    return Markup('<span data-label="{}">{}</span>').format(label, display(label) if name is None else name)


def in_words(label: str) -> Markup:
    """The same inside a sentence."""
    return named(label, in_a_sentence(label))


def badges(calibrated: bool) -> dict[str, tuple[str, str]]:
    """For each status its kind, which is a class of CSS, and its name."""
    names = {status: (status, name) for status, name in STATUSES.items()}
    return names if calibrated else {**names, "review": ("guess", UNCALIBRATED)}


def answer_card(answer: Answer, classifier: Classifier, title: str = "") -> Markup:
    """The whole answer for one image. title: of the model, where two of them stand side by side."""
    prediction, calibration = answer.prediction, classifier.calibration
    return render(
        "answer",
        prediction=prediction,
        model=answer.model,
        title=title,
        json=json.dumps(prediction.to_dict(DIGITS)),
        verdict=badges(calibration is not None)[prediction.status],
        reason=verdict_reason(prediction, classifier),
        candidates=[item for item in prediction.top_k if item.confidence >= LEAST] or prediction.top_k[:1],
        precision=f"{100 * calibration.target_precision:.3g}" if calibration else "",
        num_labels=len(classifier.labels),
        sources=SOURCES,
    )


def side_by_side(cards: Sequence[Markup]) -> Markup:
    return render("side_by_side", cards=cards)


def message(kind: str, heading: str, details: str = "", reason: str = "") -> Markup:
    """An empty state ("empty") or an error ("error"), which screen readers announce. reason: folded away."""
    return render("message", kind=kind, heading=heading, details=details, reason=reason)


def error_message(error: RequestError) -> Markup:
    """What a person reads of an error; what exactly is wrong with a file is folded away."""
    if isinstance(error, (NotAnImageError, UnreadableError)):
        return message("error", "We couldn't read this file.", UNREADABLE, str(error))
    if isinstance(error, BusyError):
        return message("error", "Please wait", str(error))
    return message("error", "This didn't work", str(error))


def figure(image: Image.Image, alt: str, caption: str, longest: int = HEAT_WIDTH) -> Markup:
    return render("figure", source=data_url(image, longest), alt=alt, caption=caption)
