"""Category trees of any depth, whose leaves may lie at different depths and share names under different parents.

    taxonomy = Taxonomy([["Food", "Fruit", "Apple"], ["Food", "Bread"]], ["department", "category", "kind"])
    taxonomy.categories[2]                              # ["Apple", "Bread"]: a leaf stands for itself below its depth
    taxonomy.path_confidences(probabilities, label=1)   # two numbers, for Food and for Bread

A category's name is its own last word, or its whole path where another category of the level is called alike.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

PATH_SEPARATOR = " > "

Path = tuple[str, ...]


class Taxonomy:
    """Where each label sits in the category tree.

    levels: their names, broad first. paths: each label's categories, in the order of the logits. categories: for each
    level the name of each label's category, unique within the level. nodes: the same as numbers, (labels,) int.
    """

    def __init__(self, paths: Sequence[Sequence[str]], levels: Sequence[str] = ("label",)) -> None:
        """paths: each label's path, in the order of the logits. levels: the name of each level, broad first."""
        self.levels = list(levels)
        self.paths = [list(path) for path in paths]
        self.categories = [category_names(paths, depth) for depth in range(len(self.levels))]
        self.nodes = []
        for names in self.categories:
            numbers: dict[str, int] = {}
            self.nodes.append(np.array([numbers.setdefault(name, len(numbers)) for name in names]))

    def path_confidences(self, probabilities: np.ndarray, label: int) -> list[float]:
        """For each category on the path of `label` the summed probability of the labels that share it.

        probabilities: (labels,) float64.
        """
        nodes_on_path = self.nodes[: len(self.paths[label])]
        return [min(1.0, float(probabilities[nodes == nodes[label]].sum())) for nodes in nodes_on_path]

    def best(self, probabilities: np.ndarray, level: int) -> tuple[int, float]:
        """The most probable label of the most probable category of a level, and the category's summed probability."""
        sums = np.bincount(self.nodes[level], weights=probabilities)
        category = int(sums.argmax())
        inside = np.where(self.nodes[level] == category, probabilities, -1.0)
        return int(inside.argmax()), min(1.0, float(sums[category]))

    def is_whole(self, label: int, level: int) -> bool:
        """Whether the path down to this level is all that there is to say about a label."""
        return level + 1 >= len(self.paths[label])


def category_names(paths: Sequence[Sequence[str]], depth: int) -> list[str]:
    """For each path the name of its category at a level, unique there; depth: of the level, from 0."""
    prefixes = [tuple(path[: depth + 1]) for path in paths]
    of_name: dict[str, set[Path]] = defaultdict(set)
    for prefix in prefixes:
        of_name[prefix[-1]].add(prefix)
    return [prefix[-1] if len(of_name[prefix[-1]]) == 1 else PATH_SEPARATOR.join(prefix) for prefix in prefixes]
