"""Figures of a scored run: the classes it confuses, how far its confidence can be trusted, its surest mistakes.

And of the automation scorecard: what can be published, and how right it is.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset
from PIL import Image

WORST_CLASSES = 20
WORST_PAIRS = 10
MISTAKES = 24
COLUMNS = 6
DOTS_PER_INCH = 110


def draw_figures(
    result: dict, probabilities: np.ndarray, truth: np.ndarray, labels: list[str], split: Dataset, folder: Path
) -> None:
    """Write confusion.png, reliability.png and mistakes.png into `folder`.

    probabilities: (rows, labels) float64; truth: (rows,) ids; split: the rows, images as bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("confusion", confusion_figure(probabilities.argmax(axis=1), truth, labels)),
        ("reliability", reliability_figure(result)),
        ("mistakes", mistakes_figure(probabilities, truth, labels, split)),
    ):
        figure.savefig(folder / f"{name}.png", dpi=DOTS_PER_INCH, bbox_inches="tight")
        plt.close(figure)


def confusion_figure(predicted: np.ndarray, truth: np.ndarray, labels: list[str]) -> plt.Figure:
    """The classes with the most mistakes against each other; a cell counts images, its shade is their share."""
    mistakes = np.bincount(truth[predicted != truth], minlength=len(labels))
    worst = np.argsort(-mistakes, kind="stable")[: min(WORST_CLASSES, int((mistakes > 0).sum()) or 1)]
    counts = np.array([[((truth == row) & (predicted == column)).sum() for column in worst] for row in worst])
    shares = counts / np.maximum(np.bincount(truth, minlength=len(labels))[worst], 1)[:, None]
    figure, axes = plt.subplots(figsize=(9, 8))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=7, color=color)
    names = [labels[i] for i in worst]
    axes.set_xticks(range(len(worst)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(worst)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"The {len(worst)} classes with the most mistakes (images; shade: share of the row)")
    return figure


def pairs_figure(predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> plt.Figure:
    """The pairs of labels with the most mistakes between them; a bar's two parts are the two directions."""
    wrong = predicted != truth
    pairs, numbers = np.unique(np.stack([truth[wrong], predicted[wrong]]), axis=1, return_counts=True)
    directions = {(int(a), int(b)): int(count) for (a, b), count in zip(pairs.T, numbers, strict=True)}
    both = {tuple(sorted(pair)): directions.get(pair, 0) + directions.get(pair[::-1], 0) for pair in directions}
    worst = sorted(both, key=lambda pair: (-both[pair], pair))[:WORST_PAIRS][::-1]
    images = np.bincount(truth, minlength=len(labels))
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.45 * len(worst)))
    for place, (a, b) in enumerate(worst):
        left = 0
        for color, pair in (("tab:blue", (a, b)), ("tab:orange", (b, a))):
            count = directions.get(pair, 0)
            axes.barh(place, count, left=left, color=color)
            if count:
                axes.text(left + count / 2, place, str(count), ha="center", va="center", fontsize=8, color="white")
            left += count
    names = [f"{labels[a]} ({images[a]}), {labels[b]} ({images[b]})" for a, b in worst]
    axes.set_yticks(range(len(worst)), names, fontsize=8)
    axes.set_xlabel("wrong answers; blue: the first was taken for the second, orange: the second for the first")
    axes.set_title(f"The {len(worst)} pairs of labels with the most mistakes (images of each)")
    return figure


def reliability_figure(result: dict) -> plt.Figure:
    """Accuracy against confidence in bins, over a histogram of the confidences."""
    bins = result["reliability"]
    confidence, accuracy, rows = ([filled[key] for filled in bins] for key in ("confidence", "accuracy", "rows"))
    figure, (upper, lower) = plt.subplots(2, figsize=(5.5, 6.5), height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="perfect")
    upper.plot(confidence, accuracy, marker="o", label=result["name"])
    upper.set_ylabel("accuracy")
    upper.set_title(f"Reliability, expected calibration error {result['expected_calibration_error']:.3f}")
    upper.legend()
    lower.bar(confidence, rows, width=0.05)
    lower.set_xlabel("confidence")
    lower.set_ylabel("images")
    return figure


def mistakes_figure(probabilities: np.ndarray, truth: np.ndarray, labels: list[str], split: Dataset) -> plt.Figure:
    """The wrong answers that the model was surest of, with the true label and its own."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    lines = max(1, -(-len(surest) // COLUMNS))
    figure, grid = plt.subplots(lines, COLUMNS, figsize=(2 * COLUMNS, 2.6 * lines), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, row in zip(grid.flat, surest.tolist(), strict=False):
        axes.imshow(Image.open(io.BytesIO(split[row]["image"]["bytes"])).convert("RGB"))
        title = f"is {labels[truth[row]]}\nsaid {labels[predicted[row]]}, {confidence[row]:.2f}"
        axes.set_title(title, fontsize=8)
    figure.suptitle("The surest mistakes")
    figure.tight_layout()
    return figure


def automation_figure(shares: Sequence) -> plt.Figure:
    """Published share and measured precision for each level and promise; shares: evaluation.automation.Share."""
    levels, targets = ({getattr(share, name): None for share in shares} for name in ("level", "target"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    width = 0.8 / len(targets)
    for number, target in enumerate(targets):
        of_target = [share for share in shares if share.target == target]
        places = np.arange(len(levels)) + (number - (len(targets) - 1) / 2) * width
        values = [share.published["value"] for share in of_target]
        bars = left.bar(places, values, width * 0.9, label=f"{target:.0%} promised")
        left.bar_label(bars, [f"{value:.0%}" for value in values], fontsize=8)
        precision = np.array([share.precision["value"] for share in of_target], dtype=float)  # None becomes nan
        ends = np.array([share.precision["interval"] for share in of_target], dtype=float).T
        color = bars.patches[0].get_facecolor()
        right.errorbar(places, precision, np.abs(ends - precision), fmt="o", color=color, capsize=3)
        right.hlines([target] * len(levels), places - width / 2, places + width / 2, color=color, linestyle="--")
    for axes, title in ((left, "published unseen"), (right, "measured precision (dashes: promised)")):
        axes.set_xticks(range(len(levels)), levels)
        axes.set_title(title)
        axes.yaxis.set_major_formatter("{x:.0%}")
    left.set(ylim=(0, 1.2), yticks=np.linspace(0, 1, 6))  # room for the legend, but no share above 100%
    left.legend(fontsize=8, loc="upper center", ncols=len(targets))
    figure.tight_layout()
    return figure
