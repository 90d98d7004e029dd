"""The button "Your categories", and what assets/names.js must know: the categories of each model and their names."""

import gradio as gr

from ..model_files import read_categories
from ..service import Service
from .display_names import DISPLAY_NAMES
from .rendering import render


def add_names(service: Service) -> None:
    """Build the button and its dialog where it is called, once for the whole page."""
    models = {name: categories(service, name) for name in service.names}
    gr.HTML(render("names", names=DISPLAY_NAMES, models=models), elem_id="names-place")


def categories(service: Service, model: str) -> dict[str, list[str]]:
    """labels: what the model answers. above: the categories over them, broad first."""
    labels, taxonomy = read_categories(service.folders[model])
    above = dict.fromkeys(name for path in taxonomy.paths for name in path[:-1])
    return {"labels": labels, "above": [name for name in above if name not in labels]}
