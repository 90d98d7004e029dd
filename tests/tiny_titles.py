"""Titles for the tiny model: drawn in a few patterns, so that every right answer is known."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.calibration import model_hash
from app.titles import JoinSettings
from models.title_model import fit_title_model, write_title_graph
from tests.make_tiny_model import LABELS, TAXONOMY

BRANDS, COLORS = ("Acme", "Borealis", "Zenit"), ("Red", "Blue", "Grey", "Olive")
NOUNS = {"Tshirts": "T-shirt", "Shirts": "Shirt", "Flats": "Ballerina Flats", "Scarves": "Scarf"}
SETTINGS = JoinSettings(0.5, 1.0, 0.001, 3.0, 6.0, 0.3, (0.2, 0.0, 0.0))


def drawn_titles(label: str) -> list[str]:
    return [f"{brand} Women {color} {NOUNS[label]}" for brand in BRANDS for color in COLORS]


def write_titles(folder: Path, least: float | None = 0.9, **changes) -> Path:
    """titles.onnx and titles.json for the tiny model in `folder`; least: the threshold of every category."""
    titles = [(title, number) for number, label in enumerate(LABELS) for title in drawn_titles(label)]
    texts, truth = zip(*titles, strict=True)
    write_title_graph(fit_title_model(texts, np.array(truth), len(LABELS)), folder / "titles.onnx")
    thresholds = {
        level: {path[depth]: least for path in TAXONOMY["paths"].values()}
        for depth, level in enumerate(TAXONOMY["levels"])
    }
    content = {
        "version": 1,
        **asdict(SETTINGS),
        "least_agreement": dict(zip(TAXONOMY["levels"], SETTINGS.least_agreement, strict=True)),
        "target_precision": 0.99,
        "thresholds": {"title": thresholds, "both": thresholds},
        "model_sha256": model_hash(folder / "model.onnx"),
        "titles_sha256": model_hash(folder / "titles.onnx"),
    }
    (folder / "titles.json").write_text(json.dumps(content | changes))
    return folder
