"""The tab Review: the images that need a person, one at a time, with the keyboard or the mouse."""

import base64

import gradio as gr

from . import cards
from .limits import RequestError
from .review import Item, ReviewQueue
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
            label = gr.Dropdown(
                sorted(queue.service.classifier().labels), value=None, label="Another label", elem_id="review-label"
            )
            with gr.Row():
                skip = gr.Button("Skip", elem_id="review-skip", size="md", min_width=80)
                reject = gr.Button("Not usable", elem_id="review-reject", size="md", min_width=80)
            gr.HTML(KEYS)
    back = gr.Button("Back to the last one", elem_id="review-back", size="md", visible=False)

    outputs = [position, view, controls, back, accept, *picks, label]

    def show(number: int) -> list:
        """What all components show for the image of this number."""
        item = queue.item(number)
        if item is None:
            number = min(number, len(queue.items))  # where the next image will be
            shown = DONE if queue.items or queue.looked_at else EMPTY
            unchanged = [gr.skip() for _ in (accept, *picks, label)]
            return [number, shown, gr.Column(visible=False), gr.Button(visible=number > 0), *unchanged]
        names = [f"{one.label}  {cards.percent(one.confidence)}" for one in item.prediction.top_k[:SUGGESTIONS]]
        names += [""] * (SUGGESTIONS - len(names))
        buttons = [gr.Button(f"{n}  {name}", visible=bool(name)) for n, name in enumerate(names[1:], start=2)]
        controls_and_back = [gr.Column(visible=True), gr.Button(visible=number > 0)]
        accepted = gr.Button(f"Accept: {names[0]}")
        return [number, review_card(item, number, queue), *controls_and_back, accepted, *buttons, None]

    def decided(number: int, action: str, label: str, reason: str) -> list:
        """Write the decision down and go on. Raises RequestError."""
        item = queue.item(number)
        if item is None:
            raise RequestError("There is nothing to decide on.")
        queue.corrections.append(item, action, label, reason)
        return show(number + 1)

    @show_user_errors
    def pick_number(number: int, which: int) -> list:
        item = queue.item(number)
        if item is None or which >= len(item.prediction.top_k):
            raise RequestError("There is no such suggestion.")
        reason = "accepted by a person" if which == 0 else "picked by a person"
        return decided(number, "relabel", item.prediction.top_k[which].label, reason)

    @show_user_errors
    def pick_label(number: int, label: str | None) -> list:
        return decided(number, "relabel", label, "picked by a person") if label else show(number)

    @show_user_errors
    def not_usable(number: int) -> list:
        return decided(number, "quarantine", "", "not usable, says a person")

    @show_user_errors
    def go(number: int, step: int) -> list:
        return show(max(0, number + step))

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    tab.select(lambda number: go(number, 0), position, outputs, **quiet)
    accept.click(lambda number: pick_number(number, 0), position, outputs, **quiet)
    for which, button in enumerate(picks, start=1):
        button.click(lambda number, which=which: pick_number(number, which), position, outputs, **quiet)
    label.input(pick_label, [position, label], outputs, **quiet)
    reject.click(not_usable, position, outputs, **quiet)
    skip.click(lambda number: go(number, 1), position, outputs, **quiet)
    back.click(lambda number: go(number, -1), position, outputs, **quiet)


def review_card(item: Item, number: int, queue: ReviewQueue) -> str:
    """The image, why it is here and what the data says."""
    source = "data:image/jpeg;base64," + base64.b64encode(item.image).decode()
    now = f'<p class="facts">In the data: {cards.text(item.label)}</p>' if item.label else ""
    saved = f"{len(queue.corrections.ids)} decided in {queue.corrections.path.name}"
    return (
        f'<article class="card review"><img src="{source}" alt="The image to review">'
        f'<p class="verdict review"><strong>{cards.text(item.why)}</strong></p>'
        f'<p class="file">{cards.text(item.id)}</p>{now}{cards.path(item.prediction)}'
        f'<p class="facts" role="status">Image {number + 1} · {cards.text(saved)}</p></article>'
    )
