"""The tab Screenshot: every product on pages of a shopping app, outlined, classified, and decided by a person.

Pages, answers and decisions stay in the visitor's browser (assets/screenshot*.js). The server answers a private
function, which finds the products on one upload and forgets it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..limits import RequestError
from ..service import Service
from .rendering import jpeg_url, render
from .safe_gradio import SafeImage, show_user_errors
from .safe_routes import store

CANDIDATES = 5


def add_screenshot(service: Service, examples: Sequence[Path]) -> None:
    """Build the tab's content where it is called. examples: of which the first can be tried with one click."""
    page = render("screenshot", model=service.page_model, has_example=bool(examples))
    gr.HTML(page, elem_id="screenshot", container=False)
    image = SafeImage(visible=False, label="image")
    model = gr.Dropdown(service.names, value=service.page_model, visible=False, label="model")
    answer, button = gr.JSON(visible=False), gr.Button(visible=False)

    @show_user_errors
    def find(image: Path | bytes | None, model: str) -> dict[str, Any]:
        """The products on one upload, which is deleted."""
        try:
            return find_products(service, image, model)
        finally:
            if isinstance(image, Path):
                store.discard(image)

    @show_user_errors
    def example() -> dict[str, str]:
        return {"name": examples[0].name, "url": jpeg_url(examples[0].read_bytes()), "model": service.default}

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    button.click(find, [image, model], answer, api_name="screenshot_find", **private)
    if examples:
        button.click(example, [], answer, api_name="screenshot_example", **private)


def find_products(service: Service, image: Path | bytes | None, model: str) -> dict[str, Any]:
    """What assets/screenshot.js reads: the page's size, and each product's box and answer. Raises RequestError."""
    if image is None:
        raise RequestError("Send a screenshot.")
    return service.find_products(image, model, CANDIDATES).to_dict()
