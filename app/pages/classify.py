"""The tab Classify: one photo, the answer, a tap where it is wrong; on demand why, and a second model beside it.

What a person picks stays in the browser (assets/classify.js).
"""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from ..limits import RequestError
from ..service import Service
from ..title_text import MAX_RAW
from . import cards
from .display_names import model_choices, title_of
from .safe_gradio import SafeImage, show_user_errors

EMPTY = cards.message("empty", "No photo yet", "Drop, paste, choose or take one, or start with an example.")

Source = Path | bytes | None


def add_classify(service: Service, examples: Sequence[Path]) -> None:
    """Build the tab's content where it is called: photo, answer, then everything else."""
    with gr.Row(elem_classes=["columns", "classify"]):
        with gr.Column(min_width=0, elem_classes="photo"):
            image = SafeImage(
                label="Product photo",
                sources=["upload", "webcam", "clipboard"],
                height=320,
                placeholder="Drop a product photo here\nor click to choose one",
                buttons=[],
                elem_id="classify-image",
            )
        with gr.Column(min_width=0, elem_classes="result"):
            answer = gr.HTML(EMPTY, elem_id="classify-answer")
            why = gr.Button("Why this category?", visible=False, elem_id="classify-why", size="md")
            heat = gr.HTML(visible=False, elem_id="classify-heat")
        with gr.Column(min_width=0, elem_classes="more"):
            title, model, other = add_options(service)
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples],
                    [image],
                    label="Examples",
                    elem_id="classify-examples",
                    examples_per_page=len(examples),
                )

    @show_user_errors
    def classify(image: Source, model: str, other: str, title: str | None) -> tuple[str, gr.Button, gr.HTML]:
        """The answer, the button that explains it, and no explanation yet. title: None where the field is not shown."""
        no_heat = gr.HTML("", visible=False)
        if image is None and not (title or "").strip():
            return EMPTY, gr.Button(visible=False), no_heat
        try:
            shown = answer_cards(service, image, model, other, title)
            return shown, gr.Button(visible=image is not None), no_heat
        except RequestError as error:
            return cards.error_message(error), gr.Button(visible=False), no_heat

    @show_user_errors
    def explain(image: Source, model: str, other: str) -> gr.HTML:
        if image is None:
            return gr.HTML("", visible=False)
        try:
            figures = [heat_figure(service, image, name) for name in chosen(model, other)]
            return gr.HTML(cards.side_by_side(figures), visible=True)
        except RequestError as error:
            return gr.HTML(cards.error_message(error), visible=True)

    inputs = [image, model, other]
    gr.on(
        [image.change, model.change, other.change, title.submit, title.blur],
        classify,
        [*inputs, title],
        [answer, why, heat],
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )
    why.click(explain, inputs, heat, show_progress="minimal", api_visibility="private")


def add_options(service: Service) -> tuple[gr.Textbox, gr.Dropdown, gr.Dropdown]:
    """The title, the model and the one to compare it with; what offers no choice is not shown."""
    several = len(service.names) > 1
    choices = model_choices(service)
    title = gr.Textbox(
        label="Title (optional)",
        placeholder="Puma Men Blue Striped Polo T-shirt",
        max_length=MAX_RAW,
        visible=any(map(service.reads_titles, service.names)),
        elem_id="classify-title",
    )
    model = gr.Dropdown(choices, value=service.default, label="Model", visible=several, elem_id="classify-model")
    with gr.Accordion("Details", open=False, visible=several, elem_id="classify-details"):
        other = gr.Dropdown([("None", ""), *choices], value="", label="Compare with", elem_id="classify-other")
    return title, model, other


def chosen(model: str, other: str) -> list[str]:
    return [model] if not other or other == model else [model, other]


def answer_cards(service: Service, image: Source, model: str, other: str, title: str | None) -> str:
    """The card of each chosen model; one that does not read titles is given the image alone. Raises RequestError."""
    names = chosen(model, other)
    answers = [service.classify(image, name, title=title if service.reads_titles(name) else None) for name in names]
    return cards.side_by_side(
        [
            cards.answer_card(
                answer, service.classifier(answer.model), title_of(service, answer.model) if len(names) > 1 else ""
            )
            for answer in answers
        ]
    )


def heat_figure(service: Service, image: Path | bytes, model: str) -> Markup:
    """Raises RequestError."""
    best = cards.in_words(service.classify(image, model).prediction.top_k[0].label)
    caption = Markup("The bright parts speak for {}: the answer changes most when they are covered.").format(best)
    return cards.figure(service.heat_map(image, model), f"What speaks for {best.striptags()}", caption)
