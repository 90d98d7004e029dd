"""The tab Teach: a zip with a folder per category becomes a model of the visitor's own, to try, correct and take along.

What a lesson is and how it is bounded stands in app/teach/teacher.py. Its id lies in the visitor's browser alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from .. import limits
from ..classifier import Classifier
from ..guard.budget import network
from ..limits import RequestError
from ..service import TOP_K, Service, check_size, image_error
from ..teach.photos import GOOD_START
from ..teach.teacher import READY, WAITING, Lesson, Status, Teacher
from . import cards
from .display_names import display
from .rendering import count, render
from .safe_gradio import Files, SafeImage, show_user_errors, stream_user_errors
from .safe_routes import store

STORAGE = "snapshelf-teach"  # in the browser
OFFERED = 6  # categories as buttons, the likeliest ones; the others in a field to search
MORE_PHOTOS = 20  # of a category: a good next step
SHOWN_LEFT_OUT = 50
INTRODUCTION = (
    "## Teach it your own categories\n\n"
    "Make a zip with **one folder per category** and put the photos of each inside; "
    f"{GOOD_START} photos each are enough to start. Up to {limits.MAX_TEACH_FILES:,} photos and "
    f"{limits.megabytes(limits.MAX_TEACH_BYTES)}. Photos and model stay on this server for "
    f"{limits.TAUGHT_SECONDS // 60} minutes after you last use them, for you alone, and are then deleted; photos that "
    "you only try are deleted after about an hour."
)
STEPS = {
    "": "Starting",
    "prepare": "Looking at the photos",
    "features": "Learning what is in them",
    "fit": "Telling the categories apart",
    "export": "Writing the model",
    "score": "Checking how good it is",
}
AFTERWARDS = (
    "The zip holds a whole model folder. `python predict.py --model FOLDER --image_path photo.jpg` classifies with it; "
    "put it into `app/models/` and the page, the API and a Space serve it."
)

Source = Path | bytes | None


class Parts(NamedTuple):
    """The components that a handler changes, in the order of `shown`."""

    key: gr.BrowserState
    files: Files
    view: gr.HTML
    start: gr.Button
    cancel: gr.Button
    ready: gr.Column
    answer: gr.HTML
    right: gr.Column
    category: gr.Radio
    other: gr.Dropdown
    added: gr.HTML
    again: gr.Button
    download: gr.DownloadButton


def add_teach(service: Service, teacher: Teacher, tab: gr.Tab) -> None:
    """Build the tab's content where it is called. tab: shows again what this browser has taught when it is opened."""
    gr.Markdown(INTRODUCTION, elem_id="teach-introduction")
    files = Files(label="Zip with one folder per category", file_types=[".zip"], height=140, elem_id="teach-files")
    with gr.Row():
        start = gr.Button("Start teaching", variant="primary", elem_id="teach-start")
        cancel = gr.Button("Cancel", visible=False, elem_id="teach-cancel")
    key = gr.BrowserState("", storage_key=STORAGE)
    view = gr.HTML(elem_id="teach-view")
    with gr.Column(visible=False, elem_id="teach-ready") as ready:
        image, parts = add_trial(key, files, view, start, cancel, ready)
    add_events(service, teacher, tab, image, parts)


def add_events(service: Service, teacher: Teacher, tab: gr.Tab, image: SafeImage, parts: Parts) -> None:
    """What happens when something is pressed, dropped or picked."""

    @stream_user_errors
    def start(files: list[tuple[str, Path]], request: gr.Request) -> Iterator[list[Any]]:
        yield from start_teaching(teacher, files, client_of(request))

    @stream_user_errors
    def again(key: str) -> Iterator[list[Any]]:
        yield from teach_again(teacher, key)

    @show_user_errors
    def cancel(key: str) -> None:
        teacher.cancel(teacher.lesson(key))

    @stream_user_errors
    def show(key: str) -> Iterator[list[Any]]:
        yield from show_kept(teacher, key)

    @show_user_errors
    def try_one(key: str, image: Source) -> list[Any]:
        return try_photo(service, teacher, key, image)

    @show_user_errors
    def add(key: str, image: Source, category: str | None) -> list[Any]:
        return add_photo(teacher, key, image, category)

    key, outputs = parts.key, list(parts)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    parts.start.click(start, [parts.files], outputs, **quiet)
    parts.again.click(again, [key], outputs, **quiet)
    parts.cancel.click(cancel, [key], None, **quiet)
    tab.select(show, [key], outputs, **quiet)
    image.change(try_one, [key, image], outputs, **quiet)
    for picked in (parts.category, parts.other):
        picked.select(add, [key, image, picked], [*outputs, image], **quiet)


def add_trial(
    key: gr.BrowserState, files: Files, view: gr.HTML, start: gr.Button, cancel: gr.Button, ready: gr.Column
) -> tuple[SafeImage, Parts]:
    """What can be done with a model that is ready."""
    gr.Markdown("### Try it on a photo")
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            image = SafeImage(
                label="Photo to try",
                sources=["upload", "clipboard"],
                height=260,
                placeholder="Drop a photo here\nor click to choose one",
                buttons=[],
                elem_id="teach-image",
            )
        with gr.Column(min_width=300):
            answer = gr.HTML(elem_id="teach-answer")
            with gr.Column(visible=False) as right:
                category = gr.Radio(
                    [], label="What is it? The photo then joins the next teaching", elem_id="teach-category"
                )
                other = gr.Dropdown([], value=None, label="Another category", visible=False, elem_id="teach-other")
            added = gr.HTML(elem_id="teach-added")
    with gr.Row():
        again = gr.Button("Teach again", visible=False, variant="primary", min_width=240, elem_id="teach-again")
        download = gr.DownloadButton("Download the model", min_width=240, elem_id="teach-download")
    gr.Markdown(AFTERWARDS, elem_classes="facts")
    return image, Parts(key, files, view, start, cancel, ready, answer, right, category, other, added, again, download)


# --- what happens -----------------------------------------------------------------------------------------------------


def start_teaching(teacher: Teacher, files: list[tuple[str, Path]], client: str) -> Iterator[list[Any]]:
    if not files:
        yield changed(view=cards.message("empty", "No zip yet", "Choose or drop a zip first."))
        return
    try:
        lesson = teacher.begin(*files[0], client)
    except RequestError as error:
        yield changed(view=cards.message("error", "This zip cannot be used yet", str(error)))
        return
    store.discard(files[0][1])
    yield changed(files=None)
    yield from taught(teacher, lesson)


def teach_again(teacher: Teacher, key: str) -> Iterator[list[Any]]:
    try:
        lesson = teacher.lesson(key)
        teacher.again(lesson)
    except RequestError as error:
        yield changed(view=cards.error_message(error))
        return
    yield from taught(teacher, lesson)


def taught(teacher: Teacher, lesson: Lesson) -> Iterator[list[Any]]:
    """The page while it is taught, and then. When nobody takes these any more, the teacher ends the lesson."""
    busy = {"start": gr.Button(interactive=False), "cancel": gr.Button(visible=True), "ready": gr.Column(visible=False)}
    for status in teacher.follow(lesson):
        yield changed(key=lesson.id, view=progress(status), **busy)
        busy = {}
    yield finished(lesson)


def show_kept(teacher: Teacher, key: str) -> Iterator[list[Any]]:
    """What this browser has taught before, as long as it is kept; also one under way that a reload has let go."""
    is_followed = teacher.is_followed(key)
    try:
        lesson = teacher.lesson(key)
    except RequestError:
        yield changed(key="", ready=gr.Column(visible=False)) if key else changed()
        return
    if lesson.is_active and not is_followed:
        yield from taught(teacher, lesson)
    else:
        yield changed() if lesson.is_active else finished(lesson)


def try_photo(service: Service, teacher: Teacher, key: str, image: Source) -> list[Any]:
    nothing = {"right": gr.Column(visible=False), "category": gr.Radio(value=None), "other": gr.Dropdown(value=None)}
    if image is None:
        return changed(answer="", **nothing)
    try:
        classifier = teacher.classifier(teacher.lesson(key))
        prediction = service.classify_by(classifier, image, TOP_K).prediction
        if prediction.status == "error":
            raise image_error(prediction.error, prediction.error_kind)
    except RequestError as error:
        return changed(answer=cards.error_message(error), added="", **nothing)
    candidates = [item for item in prediction.top_k if item.confidence >= cards.LEAST] or prediction.top_k[:1]
    verdict = cards.badges(classifier.calibration is not None)[prediction.status]
    choices = [(display(name), name) for name in best_first(classifier, [label for label, _ in prediction.top_k])]
    return changed(
        answer=render("teach_answer", candidates=candidates, verdict=verdict),
        right=gr.Column(visible=True),
        category=gr.Radio(choices[:OFFERED], value=None),
        other=gr.Dropdown(choices[OFFERED:], value=None, visible=len(choices) > OFFERED),
        added="",
    )


def best_first(classifier: Classifier, best: list[str]) -> list[str]:
    return [*best, *sorted(set(classifier.labels) - set(best))]


def add_photo(teacher: Teacher, key: str, image: Source, category: str | None) -> list[Any]:
    """The photo joins the next teaching under this category. The last value is for the image, which then goes."""
    if image is None or not category:
        return [*changed(), gr.skip()]
    try:
        lesson = teacher.lesson(key)
        check_size(image)
        teacher.add_photo(lesson, category, image if isinstance(image, bytes) else image.read_bytes())
    except RequestError as error:
        return [*changed(added=cards.message("error", "This photo was not added", str(error))), gr.skip()]
    text = Markup('<p class="teach-kept" role="status">Added to {}. {} for the next teaching.</p>')
    again = gr.Button(f"Teach again with {waiting(lesson)}", visible=True)
    shown = text.format(cards.in_words(category), waiting(lesson))
    return [*changed(added=shown, again=again, right=gr.Column(visible=False)), None]


# --- what is shown ----------------------------------------------------------------------------------------------------


def changed(**values: Any) -> list[Any]:
    """A value for each of Parts; what is not named stays as it is."""
    return [values.get(name, gr.skip()) for name in Parts._fields]


def finished(lesson: Lesson) -> list[Any]:
    is_ready = lesson.state == READY
    view = result(lesson) if is_ready else cards.message("error", "Teaching did not work", lesson.problem)
    return changed(
        key=lesson.id if is_ready else "",
        view=view,
        start=gr.Button(interactive=True),
        cancel=gr.Button(visible=False),
        ready=gr.Column(visible=is_ready),
        answer="",
        right=gr.Column(visible=False),
        added="",
        again=gr.Button(f"Teach again with {waiting(lesson)}", visible=lesson.photos.num_new > 0),
        download=gr.DownloadButton(value=lesson.download) if is_ready else gr.skip(),
    )


def waiting(lesson: Lesson) -> str:
    return count(lesson.photos.num_new, "more photo")


def progress(status: Status) -> Markup:
    if status.state == WAITING and status.ahead:
        others = "one other lesson" if status.ahead == 1 else f"{status.ahead} other lessons"
        return render("teach_progress", heading="Waiting", details=f"for {others} before yours.", number=0)
    number = min(99, round(100 * status.step.share))
    return render("teach_progress", heading=STEPS[status.step.name], details=f"{number}%", number=number)


def result(lesson: Lesson) -> Markup:
    scores, left_out = lesson.scores, lesson.left_out
    low, high = (f"{round(100 * share)}%" for share in ((scores.low, scores.high) if scores else (0, 0)))
    return render(
        "teach_result",
        problem=lesson.problem,
        scores=scores,
        low=low,
        high=high,
        advice=advice(lesson),
        left_out=left_out[:SHOWN_LEFT_OUT],
        left_out_heading=f"{count(len(left_out), 'file')} could not be used",
        learned=count(sum(lesson.usable().values()), "photo"),
        counts=lesson.usable(),
        seconds=lesson.seconds,
    )


def advice(lesson: Lesson) -> str:
    """What makes it better, in one sentence."""
    fewest, number = min(lesson.usable().items(), key=lambda item: item[1])
    if number >= MORE_PHOTOS:
        return ""
    return (
        f"More photos make it better and this range narrower: {display(fewest)} has {number}, and about {MORE_PHOTOS} "
        "in each category are a good next step."
    )


def client_of(request: gr.Request) -> str:
    return network(request.client.host if request.client else "")
