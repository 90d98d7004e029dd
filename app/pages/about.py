"""The tab About: what happens to photos, and the card of each model."""

from pathlib import Path

import gradio as gr

from .. import limits
from ..service import Service
from .display_names import title_of

PRIVACY = """
## Your photos

- Large photos are shrunk in your browser. What is sent is classified on this server and nowhere else; no other server
  is contacted.
- No photo is kept here: uploads from Sort and Screenshot are deleted as soon as they are answered, those from Classify
  after about an hour.
- Your lists, your decisions, your corrections and your own names for categories are kept in this browser alone. Nobody
  else sees them, and they are gone when you remove them there.
{taught}- Code and models are under the Apache-2.0 license.
"""
TAUGHT = """\
- What you teach it stays on this server for {minutes} minutes after you last use it, for you alone, and is then
  deleted.
"""


def add_about(service: Service, teaches: bool = False) -> None:
    """Build the tab's content where it is called: one card per model. teaches: whether there is a tab Teach."""
    taught = TAUGHT.format(minutes=limits.TAUGHT_SECONDS // 60) if teaches else ""
    gr.Markdown(PRIVACY.format(taught=taught), elem_id="about-page")
    for name in service.names:
        with gr.Accordion(f"Model card: {title_of(service, name)}", open=name == service.default):
            gr.Markdown(model_card(service.folders[name]), elem_classes="model-card")


def model_card(folder: Path) -> str:
    """The text of the model's README.md without its front matter."""
    path = folder / "README.md"
    if not path.is_file():
        return f"# {folder.name}\n\nThis model has no card."
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n") and "\n---\n" in text[4:]:
        text = text[4:].partition("\n---\n")[2]
    return text.strip()
