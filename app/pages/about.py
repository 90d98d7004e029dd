"""The tab About: the card of each model, and what happens to uploads."""

from pathlib import Path

import gradio as gr

from ..service import Service

PRIVACY = """
### This page

Images are classified on this server and nowhere else. Uploads are deleted after about an hour, nothing is
kept of them, and no other server is contacted. Code and models are under the Apache-2.0 license.
"""


def add_about(service: Service) -> None:
    """Build the tab's content where it is called: one card per model."""
    for name in service.names:
        gr.Markdown(model_card(service.folders[name]), elem_classes="model-card")
    gr.Markdown(PRIVACY)


def model_card(folder: Path) -> str:
    """The text of the model's README.md without its front matter."""
    path = folder / "README.md"
    if not path.is_file():
        return f"# {folder.name}\n\nThis model has no card."
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n") and "\n---\n" in text[4:]:
        text = text[4:].partition("\n---\n")[2]
    return text.strip()
