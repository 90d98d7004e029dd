"""The tab Classify: one image, the answer of one model or of two side by side, and the heat map on demand."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from ..limits import RequestError
from ..service import Service
from ..title_text import MAX_RAW
from . import cards
from .safe_gradio import SafeImage, show_user_errors

EMPTY = cards.message(
    "empty", "No image yet", "Drop a product photo, paste one, take one with the camera, or pick an example."
)


def add_classify(service: Service, examples: Sequence[Path]) -> None:
    """Build the tab's content where it is called."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300, scale=4):
            image = SafeImage(
                label="Product photo",
                sources=["upload", "webcam", "clipboard"],
                height=320,
                placeholder="Drop a product photo here\nor click to choose one",
                buttons=[],
                elem_id="classify-image",
            )
            title = gr.Textbox(
                label="Title (optional)",
                placeholder="Puma Men Blue Striped Polo T-shirt",
                max_length=MAX_RAW,
                visible=any(map(service.reads_titles, service.names)),
                elem_id="classify-title",
            )
            model, other = model_choice(service)
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples],
                    [image],
                    label="Examples",
                    elem_id="classify-examples",
                    examples_per_page=len(examples),
                )
        with gr.Column(min_width=300, scale=5):
            answer = gr.HTML(EMPTY, elem_id="classify-answer")
            show = gr.Button("Show what the model looked at", visible=False, elem_id="classify-show")
            heat = gr.HTML(visible=False, elem_id="classify-heat")

    @show_user_errors
    def classify(
        image: Path | bytes | None, model: str, other: str, title: str | None
    ) -> tuple[str, gr.Button, gr.HTML]:
        """The answer, the button for its heat map, and no heat map yet. title: None where the field is not shown."""
        if image is None and not (title or "").strip():
            return EMPTY, gr.Button(visible=False), gr.HTML("", visible=False)
        try:
            answers = answer_cards(service, image, model, other, title)
            return answers, gr.Button(visible=image is not None), gr.HTML("", visible=False)
        except RequestError as error:
            card = cards.message("error", "This did not work", str(error))
            return card, gr.Button(visible=False), gr.HTML("", visible=False)

    @show_user_errors
    def show_heat(image: Path | bytes | None, model: str, other: str) -> gr.HTML:
        if image is None:
            return gr.HTML("", visible=False)
        try:
            figures = [heat_figure(service, image, name) for name in chosen(model, other)]
            return gr.HTML(cards.side_by_side(figures), visible=True)
        except RequestError as error:
            return gr.HTML(cards.message("error", "There is no heat map", str(error)), visible=True)

    inputs = [image, model, other]
    gr.on(
        [image.change, model.change, other.change, title.submit, title.blur],
        classify,
        [*inputs, title],
        [answer, show, heat],
        show_progress="minimal",
        show_progress_on=[answer],
        scroll_to_output=True,
        trigger_mode="always_last",
        api_visibility="private",
    )
    show.click(show_heat, inputs, heat, show_progress="minimal", api_visibility="private")


def model_choice(service: Service) -> tuple[gr.Dropdown, gr.Dropdown]:
    """The model and the one to compare it with; not shown where there is no choice."""
    several = len(service.names) > 1
    with gr.Row(visible=several):
        model = gr.Dropdown(service.names, value=service.default, label="Model", min_width=120)
        others = [("None", ""), *((name, name) for name in service.names)]
        other = gr.Dropdown(others, value="", label="Compare with", min_width=120)
    return model, other


def chosen(model: str, other: str) -> list[str]:
    return [model] if not other or other == model else [model, other]


def answer_cards(service: Service, image: Path | bytes | None, model: str, other: str, title: str | None) -> str:
    """The card of each chosen model; one that does not read titles is given the image alone. Raises RequestError."""
    names = chosen(model, other)
    answers = [service.classify(image, name, title=title if service.reads_titles(name) else None) for name in names]
    return cards.side_by_side(
        [cards.answer_card(answer, service.classifier(answer.model), with_name=len(names) > 1) for answer in answers]
    )


def heat_figure(service: Service, image: Path | bytes, model: str) -> Markup:
    """Raises RequestError."""
    best = service.classify(image, model).prediction.top_k[0].label
    caption = f"Hiding the warm regions changes the answer {best} most ({model})."
    return cards.figure(service.heat_map(image, model, best), f"Heat map for {best}", caption)
