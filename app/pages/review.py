"""The tab Review: the images that need a person, one at a time, with the keyboard or the mouse."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from ..limits import RequestError
from . import cards
from .rendering import jpeg_url, percent, render
from .review_queue import Item, ReviewQueue
from .safe_gradio import show_user_errors

SUGGESTIONS = 5
EMPTY = cards.message("empty", "Nothing to review", "Classify images in Batch; those that need a person come here.")
DONE = cards.message("empty", "All reviewed", "No more images need a person.")
KEYS = (
    '<p class="keys"><kbd>A</kbd> accept · <kbd>2</kbd>–<kbd>5</kbd> pick · <kbd>L</kbd> another label · '
    "<kbd>S</kbd> skip · <kbd>X</kbd> not usable · <kbd>B</kbd> back</p>"
)


def add_review(queue: ReviewQueue, tab: gr.Tab) -> None:
    """Build the tab's content where it is called. tab: shows the next image when it is opened."""
    position = gr.State(0)
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            view = gr.HTML(EMPTY, elem_id="review-view")
        with gr.Column(min_width=300, visible=False) as controls:
            accept = gr.Button("Accept", variant="primary", elem_id="review-accept")
            picks = [gr.Button("", elem_id=f"review-pick-{n}", size="md") for n in range(2, SUGGESTIONS + 1)]
            labels = sorted(queue.service.classifier().labels)
            label = gr.Dropdown(labels, value=None, label="Another label", elem_id="review-label")
            with gr.Row():
                skip = gr.Button("Skip", elem_id="review-skip", size="md", min_width=80)
                reject = gr.Button("Not usable", elem_id="review-reject", size="md", min_width=80)
            gr.HTML(KEYS)
    back = gr.Button("Back to the last one", elem_id="review-back", size="md", visible=False)

    @show_user_errors
    def pick(number: int, rank: int) -> list[Any]:
        decide_suggestion(queue, number, rank)
        return shown(queue, number + 1)

    @show_user_errors
    def pick_label(number: int, label: str | None) -> list[Any]:
        if not label:
            return shown(queue, number)
        decide(queue, number, "relabel", label, "picked by a person")
        return shown(queue, number + 1)

    @show_user_errors
    def mark_unusable(number: int) -> list[Any]:
        decide(queue, number, "quarantine", "", "not usable, says a person")
        return shown(queue, number + 1)

    @show_user_errors
    def go(number: int, step: int) -> list[Any]:
        return shown(queue, max(0, number + step))

    outputs = [position, view, controls, back, accept, *picks, label]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    tab.select(lambda number: go(number, 0), position, outputs, **quiet)
    for rank, button in enumerate([accept, *picks]):
        button.click(lambda number, rank=rank: pick(number, rank), position, outputs, **quiet)
    label.input(pick_label, [position, label], outputs, **quiet)
    reject.click(mark_unusable, position, outputs, **quiet)
    skip.click(lambda number: go(number, 1), position, outputs, **quiet)
    back.click(lambda number: go(number, -1), position, outputs, **quiet)


def shown(queue: ReviewQueue, number: int) -> list[Any]:
    """What the components show for the image of this number: position, view, controls, back, accept, picks, label."""
    item = queue.item(number)
    if item is None:
        number = min(number, len(queue.items))  # where the next image will be
        view = DONE if queue.items or queue.num_inspected else EMPTY
        unchanged = [gr.skip() for _ in range(SUGGESTIONS + 1)]
        return [number, view, gr.Column(visible=False), gr.Button(visible=number > 0), *unchanged]
    names = [f"{label}  {percent(confidence)}" for label, confidence in item.prediction.top_k[:SUGGESTIONS]]
    names += [""] * (SUGGESTIONS - len(names))
    controls_and_back = [gr.Column(visible=True), gr.Button(visible=number > 0)]
    accept = gr.Button(f"Accept: {names[0]}")
    picks = [gr.Button(f"{n}  {name}", visible=bool(name)) for n, name in enumerate(names[1:], start=2)]
    return [number, review_card(item, number, queue), *controls_and_back, accept, *picks, None]


def decide_suggestion(queue: ReviewQueue, number: int, rank: int) -> None:
    """Accept the model's best label, or pick another of its suggestions. Raises RequestError."""
    item = queue.item(number)
    if item is None or rank >= len(item.prediction.top_k):
        raise RequestError("There is no such suggestion.")
    reason = "accepted by a person" if rank == 0 else "picked by a person"
    decide(queue, number, "relabel", item.prediction.top_k[rank].label, reason)


def decide(queue: ReviewQueue, number: int, action: str, label: str, reason: str) -> None:
    """Write the decision down. Raises RequestError."""
    item = queue.item(number)
    if item is None:
        raise RequestError("There is nothing to decide on.")
    queue.corrections.append(item, action, label, reason)


def review_card(item: Item, number: int, queue: ReviewQueue) -> Markup:
    """The image, why it is here and what the data says."""
    return render(
        "review_card",
        item=item,
        source=jpeg_url(item.image),
        number=number + 1,
        num_decided=len(queue.corrections.ids),
        corrections=queue.corrections.path.name,
    )
