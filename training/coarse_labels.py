"""Images labeled only at a coarse level train too: the probability of a category is the sum over its leaves.

A photo labeled "trousers" says that one of Jeans, Trousers, Track Pants … is right, not which. Its loss is
-log(p(Jeans) + p(Trousers) + …), the marginal likelihood over the taxonomy; an image with a leaf label has the usual
cross-entropy as its special case. In a dataset such a label is -1, and the coarser columns say what is known.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from datasets import Features

from app.errors import UserError
from app.taxonomy import Taxonomy
from training.arguments import Recipe


class LabelSets(Protocol):
    """Which leaves the labels of a batch may mean."""

    def members(self, labels: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
        """(batch, leaves) bool. labels: (batch,); coarser: (batch, levels - 1), fine to coarse; -1 where unknown."""


class CoarseLabels:
    """The leaves below each category of the coarser levels.

    sets: by level, fine to coarse, (categories, leaves) bool.
    """

    def __init__(self, sets: Sequence[np.ndarray]):
        self.leaves = sets[0].shape[1]
        self.sets = [torch.from_numpy(matrix) for matrix in sets]

    def members(self, labels: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
        members = torch.ones(len(labels), self.leaves, dtype=torch.bool, device=labels.device)
        leaf = torch.eye(self.leaves, dtype=torch.bool, device=labels.device)
        of_level = [leaf, *(matrix.to(labels.device) for matrix in self.sets)]
        levels = [labels, *coarser.unbind(dim=1)]
        for matrix, numbers in reversed(list(zip(of_level, levels, strict=True))):  # the finest known level counts
            members = torch.where((numbers >= 0)[:, None], matrix[numbers.clamp(min=0)], members)
        return members


def coarse_labels(taxonomy: dict, features: Features) -> CoarseLabels:
    """taxonomy: of the model's config; features: of the dataset, with the levels' names."""
    *above, label = taxonomy["levels"]
    tree = Taxonomy([taxonomy["paths"][name] for name in features[label].names], taxonomy["levels"])
    return CoarseLabels(
        [
            np.array([[name == own for own in tree.categories[depth]] for name in features[level].names])
            for depth, level in reversed(list(enumerate(above)))
        ]
    )


def label_sets(labels: np.ndarray, taxonomy: dict, features: Features, recipe: Recipe) -> dict[str, CoarseLabels]:
    """ImageTrainer's `coarse` where some training images have a coarser label only. labels: (rows,) leaf ids or -1.

    Raises UserError for what such images cannot take part in.
    """
    coarse = int((labels < 0).sum())
    if not coarse:
        return {}
    if recipe.mixup or recipe.cutmix or recipe.sampler == "balanced":
        raise UserError(
            f"{coarse} training images have a coarser label only, which cannot be mixed or balanced: leave out "
            "--mixup, --cutmix and --sampler balanced"
        )
    return {"coarse": coarse_labels(taxonomy, features)}


def likely_targets(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(batch, leaves) float32: the model's own probabilities among the leaves that a label may mean.

    Cross-entropy against them has the gradient of the marginal likelihood, and takes smoothing, weights and focus as
    any target does. members: (batch, leaves), above 0 for those leaves.
    """
    return logits.detach().masked_fill(members == 0, -torch.inf).softmax(dim=1)
