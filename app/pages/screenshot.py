"""The tab Screenshot: every product on a shopping app's screenshot, outlined and classified."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from ..limits import RequestError
from ..service import Products, Service
from . import cards
from .safe_gradio import SafeImage, show_user_errors

EMPTY = cards.message("empty", "No screenshot yet", "Drop a screenshot of a shopping app: a page with products on it.")
NO_PRODUCTS = cards.message(
    "empty",
    "No products found on this image",
    "It works with pages that show products in columns, or one product large. For one photo, use Classify.",
)


def add_screenshot(service: Service, examples: Sequence[Path]) -> None:
    """Build the tab's content where it is called."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300, scale=4):
            image = SafeImage(
                label="Screenshot",
                sources=["upload", "clipboard"],
                height=240,
                placeholder="Drop a screenshot here\nor click to choose one",
                buttons=[],
                elem_id="screenshot-image",
            )
            model = gr.Dropdown(
                service.names, value=service.page_model, label="Model", visible=len(service.names) > 1, min_width=120
            )
            if examples:
                gr.Examples([[str(path)] for path in examples], [image], label="Example", elem_id="shot-examples")
            outlined = gr.HTML("", elem_id="screenshot-page")
        with gr.Column(min_width=300, scale=5):
            table = gr.HTML(EMPTY, elem_id="screenshot-products")

    @show_user_errors
    def find(image: Path | bytes | None, model: str) -> tuple[str, str]:
        if image is None:
            return "", EMPTY
        try:
            return page_and_table(service, service.find_products(image, model))
        except RequestError as error:
            return "", cards.message("error", "This did not work", str(error))

    gr.on(
        [image.change, model.change],
        find,
        [image, model],
        [outlined, table],
        show_progress="minimal",
        show_progress_on=[table],
        trigger_mode="always_last",
        api_visibility="private",
    )


def page_and_table(service: Service, screenshot: Products) -> tuple[str, str]:
    """The outlined screenshot and the table of its products."""
    if not screenshot.products:
        return "", NO_PRODUCTS
    calibrated = service.classifier(screenshot.model).calibration is not None
    return cards.outlined_page(screenshot), cards.products_table(screenshot, calibrated)
