"""An image of accuracy against compute, a line per row."""

from collections.abc import Mapping
from pathlib import Path

from studies.common.report import plt, save
from studies.zoo.scores import ScoredRow
from studies.zoo.tasks import TITLES

MARKERS = "osv^D"


def draw_curves(whole: Mapping[str, dict[str, ScoredRow]], unit: str, path: Path) -> None:
    """One panel per task; dashed lines are of rows from scratch. unit: of the budget."""
    panels = {name: rows for name, rows in whole.items() if rows}
    figure, grid = plt.subplots(1, len(panels), figsize=(7.5 * len(panels), 5.5), squeeze=False)
    colors = plt.get_cmap("tab10")
    order = list(dict.fromkeys(row for rows in panels.values() for row in rows))
    for axes, (name, rows) in zip(grid.flat, panels.items(), strict=True):
        for row in rows.values():
            number = order.index(row.name)
            points = sorted(row.accuracy_at)
            spent = [sum(spent_at(fold.arrays, point) for fold in row.folds) / 60 for point in points]
            style = "-" if row.facts["weights"] else "--"
            label = f"{row.name} {row.facts['size']} px, {100 * row.accuracy:.1f}"
            accuracies = [100 * row.accuracy_at[point] for point in points]
            axes.plot(spent, accuracies, style, marker=MARKERS[number // 10], color=colors(number % 10), label=label)
        axes.set(xlabel=unit, ylabel="accuracy, %", title=TITLES[name])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="lower right")
    figure.suptitle("Accuracy against compute (dashed: from scratch)")
    figure.tight_layout()
    save(figure, path)


def spent_at(arrays: Mapping, point: int) -> float:
    return float(arrays["spent"][arrays["percent"].tolist().index(point)])
