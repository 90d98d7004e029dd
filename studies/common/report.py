"""What the pages of both studies consist of: figures with intervals, tables, an image of a matrix."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np

from app.files import write_text
from data_prep.pipeline.card import table
from studies.common.units import Result

DOTS_PER_INCH = 110
START, END = "<!-- table: written by the study -->", "<!-- end of table -->"


def percent(score: dict | None) -> str:
    """`87.1 (85.9–88.2)` of what evaluation/scoring.py calls a figure with its interval."""
    if score is None or score["value"] is None:
        return "–"
    low, high = score["interval"]
    return f"{100 * score['value']:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def cost(results: Iterable[Result]) -> str:
    """`59 minutes on 2 cores, x86_64, Python 3.11.7` of the units that were run."""
    facts = [result.facts for result in results]
    minutes = sum(unit["seconds"] for unit in facts) / 60
    return f"{minutes:.0f} minutes on {'; '.join(sorted({unit['machine'] for unit in facts}))}"


def per_class_table(scores: dict) -> list[str]:
    """Precision, recall and F1 of each class as lines of Markdown; scores: of scoring.score."""
    header = ["class", "images", "precision", "recall", "F1"]
    rows = (
        [name, figures["images"], *(percent(figures[key]) for key in ("precision", "recall", "f1"))]
        for name, figures in scores["per_class"].items()
    )
    return table(header, rows)


def confusions(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str], count: int = 10) -> list[str]:
    """The most frequent mistakes as `12 × Accessories taken for Artifacts`."""
    wrong = predicted != truth
    pairs, numbers = np.unique(np.stack([truth[wrong], predicted[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-numbers, kind="stable")[:count]
    return [f"{numbers[i]} × {names[pairs[0, i]]} taken for {names[pairs[1, i]]}" for i in order]


def heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, path: Path) -> None:
    """An image of a matrix of accuracies (rows, columns) float in [0, 1]; nan: not measured."""
    figure, axes = plt.subplots(figsize=(2.2 + 1.7 * len(columns), 1.6 + 0.9 * len(rows)))
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(~np.isnan(values)):
        color = "white" if values[row, column] > 0.5 else "black"
        axes.text(column, row, f"{100 * values[row, column]:.1f}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("scored on")
    axes.set_ylabel("trained on")
    axes.set_title(title, fontsize=10)
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(figure)


def write_page(path: Path, heading: str, lines: Iterable[str], below: str = "") -> None:
    """Replace what stands between the markers; what a person wrote around them stays. below: them, on a new page."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"{heading}\n{START}\n{END}\n{below}"
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2].strip("\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join([before.rstrip(), "", START, *lines, END, *(["", after] if after else []), ""]))
