"""What both studies do with the model that they ship: its folder, its card and its graph."""

from pathlib import Path

from app.errors import UserError
from app.files import write_text

CARD_HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
tags:
- image-classification
- product-classification
---
"""  # what the Hub reads of a model card


def check_empty(folder: Path, option: str) -> None:
    """Raises UserError where something is in the folder that `option` names."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{option} {folder} is not empty; name another folder or delete it")


def write_card(folder: Path, template: str, **facts: object) -> None:
    write_text(folder / "README.md", CARD_HEAD + template.format(title=folder.name, **facts))
