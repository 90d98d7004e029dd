"""The tab "How accurate is it?": three sentences for people and, folded, the models' scores with their intervals.

Scores come from results/leaderboard.csv; those of a model that learned all its images, so that none are left to score
it, from its own card, out of fold.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup
from PIL import Image

from ..service import Service
from . import cards
from .display_names import title_of
from .rendering import render

APP = Path(__file__).resolve().parents[1]
CSV_FILE, ATTRIBUTES_CSV = "leaderboard.csv", "leaderboard_attributes.csv"
# In results/, with their captions: the figures of the model that the page answers with.
FIGURES = {
    "runs/{model}/reliability.png": "How often answers of {model} are right, by their confidence (test split)",
    "runs/{model}/confusion.png": "Which of its worst categories {model} takes for which (test split)",
    "automation.png": "The share of images that can be published unseen, by the required precision",
}
NO_RESULTS = cards.message("empty", "No results here", "validate.py scores a model, leaderboard.py writes the table.")
# What a model's card says of itself, as studies/slash8/ship.py and training/model_card.py write it.
OUT_OF_FOLD = re.compile(r"accuracy\s+([\d.]+) \(([\d.]+)–([\d.]+)\), macro-F1 ([\d.]+) \(([\d.]+)–([\d.]+)\)")
OWN_PHOTOS = re.compile(
    r"Of (\d+) photos that people took.*?([\d.]+) \([\d.–]+\) per ?cent.*?one\s+of (\d+) classes", re.DOTALL
)
SCORES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "top5": "Top-5"}
OF_LEVEL = "_accuracy"  # ends the name of a coarser level's score
LEVELS = {"subCategory": "Group", "masterCategory": "Department"}  # other levels go by their own names
DRAWN = ("accuracy", "macro_f1")
NO_USES: Mapping[str, str] = {}
ENDS = ("", "_low", "_high")  # of the names of a score's columns
NOT_MEASURED = "–"
EXPLANATION = """
**Accuracy** is the share of images whose category is right, **macro-F1** the mean over the categories, with rare ones
counting as much as common ones, **top-5** how often the right one is among the five most likely; **group** and
**department** are the broader categories. The small figures and the whiskers are 95% bootstrap intervals over products.
No product of the scored images was seen in training; out of fold, a model that had not seen an image scored it.
"""
FIGURE_WIDTH = 900  # pixels

# Of the chart, in units of its own
WIDTH, LINE, EDGE, FOOT = 340, 44, 14, 22
MAX_NAME = 36
STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # between its tick marks

ScoreRow = dict[str, str]  # of leaderboard.csv


def add_leaderboard(service: Service, tab: gr.Tab) -> None:
    """Build the tab's content where it is called; the figures come when the tab is opened."""
    rows = [*read_leaderboard(results_folder() / CSV_FILE), *card_rows(service)]
    gr.HTML(render("accuracy", sentences=sentences(service, rows)))
    if not rows:
        gr.HTML(NO_RESULTS)
        return
    with gr.Accordion("All scores", open=False, elem_classes="scores-fold"):
        gr.Markdown(EXPLANATION)
        used = uses(service)
        for (dataset, split, with_titles), group in groupby(rows, key=scored_on):
            shown = f"{split}, images with titles" if with_titles else split
            gr.HTML(leaderboard_section(dataset, shown, list(group), used))
        if attributes := read_csv(results_folder() / ATTRIBUTES_CSV):
            gr.HTML(render("attribute_scores", rows=[attribute_row(row) for row in attributes]))
    with gr.Accordion("Figures", open=False, elem_classes="scores-fold"):
        figures = gr.HTML()
    tab.select(lambda: figures_section(service.default), None, figures, api_visibility="private")


def uses(service: Service) -> dict[str, str]:
    """What each model of this page answers where nobody chooses another, by name."""
    places: dict[str, list[str]] = {}
    for name, place in ((service.default, "photos"), (service.page_model, "screenshots")):
        places.setdefault(name, []).append(place)
    return {name: " and ".join(of) for name, of in places.items()}


def sentences(service: Service, rows: Sequence[ScoreRow]) -> list[str]:
    """What a shop wants to know: how often each model is right, and what may be relied on."""
    by_name = {row["name"]: row for row in reversed(rows)}  # the test split stands first
    said = [how_often(service, name, by_name[name]) for name in uses(service) if name in by_name]
    return [*said, promise(service)] if promise(service) else said


def how_often(service: Service, name: str, row: ScoreRow) -> str:
    text = f"{title_of(service, name)}: right for {in_100(float(row['accuracy']))} of 100 product images"
    if row.get("subCategory_accuracy"):
        text += f", and in the right group, such as shoes or bags, for {in_100(float(row['subCategory_accuracy']))}"
    if found := OWN_PHOTOS.search(card_text(service, name)):
        number, share, classes = found.groups()
        text += f"; for people's own photos {in_100(float(share) / 100)} of 100 ({number} tried, {classes} kinds)"
    return f"{text}."


def promise(service: Service) -> str:
    """What “Ready to publish” is worth; empty where no model is calibrated."""
    promises = [
        f"{100 * calibration.target_precision:.3g} times in 100 with {title_of(service, name).partition(',')[0]}"
        for name in uses(service)
        if (calibration := service.classifier(name).calibration)
    ]
    return f"“Ready to publish” is right {' and '.join(promises)}; the rest waits for you." if promises else ""


def in_100(share: float) -> str:
    return str(min(99, round(100 * share)) if share < 1 else 100)


def card_text(service: Service, name: str) -> str:
    path = service.folders[name] / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def card_rows(service: Service) -> list[ScoreRow]:
    """Of the models whose card says how they scored out of fold."""
    rows = []
    for name in service.names:
        if found := OUT_OF_FOLD.search(card_text(service, name)):
            columns = [f"{score}{end}" for score in DRAWN for end in ENDS]
            shares = {column: f"{float(text) / 100:.5f}" for column, text in zip(columns, found.groups(), strict=True)}
            content = service.classifier(name).calibration
            dataset = str(content.content.get("dataset", name)) if content else name
            size = (service.folders[name] / "model.onnx").stat().st_size
            rows.append(
                {"name": name, "dataset": dataset, "split": "out of fold", **shares, "megabytes": str(size / 1e6)}
            )
    return rows


def results_folder() -> Path:
    """In a checkout what validate.py and leaderboard.py write; in a Space the copies that went up with the page."""
    original = APP.parent / "results"
    return original if (original / CSV_FILE).is_file() else APP / "results"


def figures_section(model: str) -> Markup:
    """Those drawings of results/ that exist for this model."""
    figures = [
        cards.figure(Image.open(path), caption.format(model=model), caption.format(model=model), FIGURE_WIDTH)
        for name, caption in FIGURES.items()
        if (path := results_folder() / name.format(model=model)).is_file()
    ]
    return render("figures", figures=figures)


def read_leaderboard(path: Path) -> list[ScoreRow]:
    """The test splits first, as they say most; within a split in the file's order, best accuracy first."""
    rows = read_csv(path)
    return sorted(rows, key=lambda row: (row["split"] != "test", *scored_on(row)))


def read_csv(path: Path) -> list[ScoreRow]:
    """Empty where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scored_on(row: ScoreRow) -> tuple[str, str, bool]:
    """What makes two rows comparable: dataset, split, and whether the titles were read too."""
    return row["dataset"], row["split"], bool(row.get("title_column"))


def leaderboard_section(
    dataset: str, split: str, rows: Sequence[ScoreRow], used: Mapping[str, str] = NO_USES
) -> Markup:
    """used: what a model of this page answers, by its name."""
    levels = [score.removesuffix(OF_LEVEL) for score in rows[0] if score.endswith(OF_LEVEL)]
    names = SCORES | {f"{level}{OF_LEVEL}": LEVELS.get(level, level) for level in levels}
    shown = {score: name for score, name in names.items() if any(row.get(score) for row in rows)}
    return render(
        "leaderboard",
        dataset=dataset,
        split=split,
        charts=[interval_chart(score, rows) for score in DRAWN],
        heads=shown.values(),
        rows=[{**table_row(row, shown), "used": used.get(row["name"], "")} for row in rows],
    )


def table_row(row: ScoreRow, shown: Iterable[str]) -> dict[str, Any]:
    """What the table shows of one model. scores: each with its interval, in percent; None where it was not measured."""
    return {
        "name": row["name"],
        "scores": [
            [f"{100 * float(row[f'{score}{end}']):.1f}" for end in ENDS] if row.get(score) else None for score in shown
        ],
        "size": f"{float(row['megabytes']):.1f} MB" if row.get("megabytes") else NOT_MEASURED,
        "speed": f"{float(row['images_per_second']):.0f}" if row.get("images_per_second") else NOT_MEASURED,
    }


def attribute_row(row: ScoreRow) -> dict[str, Any]:
    scores = [[f"{100 * float(row[f'{score}{end}']):.1f}" for end in ENDS] for score in DRAWN]
    return {**row, "scores": scores}


@dataclass(frozen=True, slots=True)
class Interval:
    """One model in a chart. x, low, high: where its score and the ends of the interval are drawn."""

    name: str
    score: float
    x: float
    low: float
    high: float


def interval_chart(score: str, rows: Sequence[ScoreRow]) -> Markup:
    """A dot and its interval per model, as an SVG that scales with the page and has the page's colors."""
    rows = [row for row in rows if row.get(score)]
    if not rows:
        return Markup("")
    ends = [float(row[f"{score}{end}"]) for row in rows for end in ("_low", "_high")]
    margin = max(0.005, 0.15 * (max(ends) - min(ends)))
    low, high = max(0.0, min(ends) - margin), min(1.0, max(ends) + margin)

    def place(value: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low)

    intervals = [
        Interval(row["name"], float(row[score]), *(place(float(row[f"{score}{end}"])) for end in ENDS)) for row in rows
    ]
    return render(
        "interval_chart",
        title=SCORES[score],
        intervals=intervals,
        ticks=[(value, place(value)) for value in round_values(low, high)],
        width=WIDTH,
        line=LINE,
        foot=FOOT,
        max_name=MAX_NAME,
    )


def round_values(low: float, high: float) -> list[float]:
    """Two to six round numbers between two shares."""
    step = next(step for step in STEPS if (high - low) / step <= 5)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
