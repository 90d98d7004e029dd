"""The functions for programs: /classify, /classify_batch and /find_products, whose names are stable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..batches import Batch
from ..images import ImageError
from ..limits import BatchTime, RequestError
from ..pages.safe_gradio import Files, SafeImage, show_user_errors
from ..service import DIGITS, TOP_K, Service


def add_endpoints(service: Service) -> None:
    """Add endpoints without anything to see to the Blocks in which this is called."""
    image, files = SafeImage(visible=False, label="image"), Files(visible=False, label="files", file_count="multiple")
    model = gr.Dropdown(service.names, value=service.default, visible=False, label="model")
    page_model = gr.Dropdown(service.names, value=service.page_model, visible=False, label="model")
    top_k = gr.Number(TOP_K, precision=0, visible=False, label="top_k")
    title = gr.Textbox("", visible=False, label="title")
    answer, button = gr.JSON(visible=False, label="answer"), gr.Button(visible=False)

    @show_user_errors
    def classify(image: Path | bytes | None, model: str, top_k: int, title: str = "") -> dict[str, Any]:
        """The category of the product on an image, with its path, confidences and whether it is certain enough.

        A model with attributes, such as colors, says them as `attributes`.

        Args:
            image: an image (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF), uploaded or as a data-URL
            model: the name of a model of this page
            top_k: how many of the most likely labels to list
            title: the product's title, for a model that reads titles; it may then stand without an image
        """
        return service.classify(image, model, top_k, title).to_dict()

    @show_user_errors
    def classify_batch(files: list[tuple[str, Path]], model: str, top_k: int) -> list[dict[str, Any]]:
        """The categories of many images, given as files or zip archives; a bad one is a row with its error.

        Args:
            files: images or zip archives of them, uploaded or as data-URLs
            model: the name of a model of this page
            top_k: how many of the most likely labels to list
        """
        names: list[str] = []
        batch_time = BatchTime()

        def sources() -> Iterator[Path | bytes | ImageError]:
            for name, source in Batch(files).images(batch_time):
                names.append(name)
                yield source

        predictions = list(service.classify_stream(sources(), model, top_k, batch_time))
        return [
            {"file": name, **prediction.to_dict(DIGITS)} for name, prediction in zip(names, predictions, strict=True)
        ]

    @show_user_errors
    def find_products(image: Path | bytes | None, model: str, top_k: int) -> dict[str, Any]:
        """Every product on a screenshot of a shopping app: where it is, and its category.

        Args:
            image: the screenshot, uploaded or as a data-URL
            model: the name of a model of this page
            top_k: how many of the most likely labels to list
        """
        return service.find_products(required(image), model, top_k).to_dict()

    classify_inputs = [image, model, top_k, *([title] if any(map(service.reads_titles, service.names)) else [])]
    button.click(classify, classify_inputs, answer, api_name="classify")
    button.click(classify_batch, [files, model, top_k], answer, api_name="classify_batch")
    button.click(find_products, [image, page_model, top_k], answer, api_name="find_products")


def required(image: Path | bytes | None) -> Path | bytes:
    if image is None:
        raise RequestError("Send an image.")
    return image
