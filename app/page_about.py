"""The tabs Leaderboard and About: the scores of the models with their intervals and figures, and the model cards."""

import csv
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import gradio as gr
from PIL import Image

from . import cards
from .service import Service

HERE = Path(__file__).resolve().parent
CSV_FILE = "leaderboard.csv"
# In results/, with what they show: the figures of the model that the page answers with.
FIGURES = {
    "runs/{model}/reliability.png": "How often answers of {model} are right, by how sure it was (test split)",
    "runs/{model}/confusion.png": "Which of its worst categories {model} takes for which (test split)",
    "automation.png": "The share of images that can be published unseen, by the precision that is asked for",
}
NO_RESULTS = cards.message("empty", "No results here", "validate.py scores a model, leaderboard.py writes the table.")
SCORES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "top5": "Top-5",
    "subCategory_accuracy": "subCategory",
    "masterCategory_accuracy": "masterCategory",
}
DRAWN = ("accuracy", "macro_f1")
EXPLANATION = """
**Accuracy** is the share of images whose category is right, **macro-F1** the mean over the categories, rare ones
counted as much as common ones, **top-5** how often the right one is among the five most likely; the last two count the
broader categories. The small figures and the whiskers are 95% bootstrap intervals over products. No product of the
scored images was seen in training.
"""
PRIVACY = """
### This page

Images are classified on this server and nowhere else. Uploads are deleted after about an hour, nothing is
kept of them, and no other server is asked for anything. Code and models are under the Apache-2.0 licence.
"""

FIGURE_WIDTH = 900  # pixels

# Of the drawing, in units of its own
WIDTH, LINE, EDGE, FOOT = 340, 44, 14, 22
MAX_NAME = 36
STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # between its tick marks


def add_leaderboard(service: Service, tab: gr.Tab) -> None:
    """Build the tab's content where it is called; the figures come when the tab is opened."""
    rows = read_leaderboard(results_folder() / CSV_FILE)
    if not rows:
        gr.HTML(NO_RESULTS)
        return
    gr.Markdown(EXPLANATION)
    for (dataset, split), group in groupby(rows, key=lambda row: (row["dataset"], row["split"])):
        gr.HTML(leaderboard_section(dataset, split, list(group)))
    figures = gr.HTML()
    tab.select(lambda: figures_section(service.default), None, figures, api_visibility="private")


def results_folder() -> Path:
    """In a checkout what validate.py and leaderboard.py write; in a Space the copies that went up with the page."""
    original = HERE.parent / "results"
    return original if (original / CSV_FILE).is_file() else HERE / "results"


def figures_section(model: str) -> str:
    """The drawings of results/ that there are for this model; empty without any."""
    found = [
        cards.figure(Image.open(path), caption.format(model=model), caption.format(model=model), FIGURE_WIDTH)
        for name, caption in FIGURES.items()
        if (path := results_folder() / name.format(model=model)).is_file()
    ]
    return f'<section class="leaderboard"><h3>Figures</h3><div class="figures">{"".join(found)}</div></section>'


def read_leaderboard(path: Path) -> list[dict[str, str]]:
    """The test splits first, as they say most; the order within a split, best accuracy first, is the file's."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return sorted(rows, key=lambda row: (row["split"] != "test", row["dataset"], row["split"]))


def leaderboard_section(dataset: str, split: str, rows: Sequence[dict[str, str]]) -> str:
    charts = "".join(interval_chart(score, rows) for score in DRAWN)
    return (
        f'<section class="leaderboard"><h3>{cards.text(dataset)}, {cards.text(split)} split</h3>'
        f'<div class="charts">{charts}</div>{scores_table(rows)}</section>'
    )


def scores_table(rows: Sequence[dict[str, str]]) -> str:
    shown = {key: name for key, name in SCORES.items() if any(row.get(key) for row in rows)}
    heads = ["Model", *shown.values(), "Size", "Images/s"]
    head = "".join(f'<th scope="col" class="{"number" if name != "Model" else ""}">{name}</th>' for name in heads)
    body = "".join(_scores_row(row, shown) for row in rows)
    return (
        '<table class="rows scores"><caption>Scores in percent, with 95% intervals</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _scores_row(row: dict[str, str], shown: dict[str, str]) -> str:
    cells = "".join(f'<td class="number" data-label="{name}">{_score(row, key)}</td>' for key, name in shown.items())
    size, speed = _fact(row, "megabytes", "{:.1f} MB"), _fact(row, "images_per_second", "{:.0f}")
    return (
        f'<tr><th scope="row">{cards.text(row["name"])}</th>{cells}'
        f'<td class="number" data-label="Size">{size}</td><td class="number" data-label="Images/s">{speed}</td></tr>'
    )


def _fact(row: dict[str, str], key: str, form: str) -> str:
    return form.format(float(row[key])) if row.get(key) else "–"


def _score(row: dict[str, str], key: str) -> str:
    if not row.get(key):
        return "–"
    value, low, high = (100 * float(row[name]) for name in (key, f"{key}_low", f"{key}_high"))
    return f'{value:.1f} <span class="interval">{low:.1f}–{high:.1f}</span>'


def interval_chart(score: str, rows: Sequence[dict[str, str]]) -> str:
    """A dot and its interval a model, as an SVG that scales with the page and has the page's colours."""
    rows = [row for row in rows if row.get(score)]
    if not rows:
        return ""
    values = [float(row[f"{score}{end}"]) for row in rows for end in ("_low", "_high")]
    margin = max(0.005, 0.15 * (max(values) - min(values)))
    low, high = max(0.0, min(values) - margin), min(1.0, max(values) + margin)

    def place(value: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low)

    height = LINE * len(rows) + FOOT
    marks = "".join(_interval(row, score, LINE * number, place) for number, row in enumerate(rows))
    ticks = "".join(_tick(value, place, height) for value in round_values(low, high))
    label = f"{SCORES[score]} with 95% intervals: " + ", ".join(
        f"{row['name']} {100 * float(row[score]):.1f} percent" for row in rows
    )
    return (
        f'<figure class="chart"><figcaption>{SCORES[score]}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{cards.text(label)}">{ticks}{marks}</svg></figure>'
    )


def round_values(low: float, high: float) -> list[float]:
    """Two to six round numbers between two shares."""
    step = next(step for step in STEPS if (high - low) / step <= 5)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _interval(row: dict[str, str], score: str, y: float, place: Callable[[float], float]) -> str:
    """One model from `y` down: its name and value, below them the whisker."""
    value, low, high = (place(float(row[f"{score}{end}"])) for end in ("", "_low", "_high"))
    name = row["name"] if len(row["name"]) <= MAX_NAME else row["name"][: MAX_NAME - 1] + "…"
    y += 30
    return (
        f'<text x="0" y="{y - 15}">{cards.text(name)}</text>'
        f'<path class="whisker" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 5}v10M{high:.1f} {y - 5}v10"/>'
        f'<circle cx="{value:.1f}" cy="{y}" r="4.5"/>'
        f'<text class="value" x="{WIDTH}" y="{y - 15}">{100 * float(row[score]):.1f}%</text>'
    )


def _tick(value: float, place: Callable[[float], float], height: float) -> str:
    x = place(value)
    return (
        f'<path class="tick" d="M{x:.1f} 0V{height - FOOT}"/>'
        f'<text class="tick-name" x="{x:.1f}" y="{height - 6}">{100 * value:.3g}</text>'
    )


def add_about(service: Service) -> None:
    """Build the tab's content where it is called: a card a model."""
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
