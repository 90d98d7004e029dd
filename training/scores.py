"""What Trainer computes of an evaluation: accuracy, top-5, macro-F1, and the accuracy at each coarser level."""

from collections.abc import Callable
from functools import partial

import numpy as np
from datasets import Features
from transformers import EvalPrediction

from app.taxonomy import Taxonomy
from evaluation.metrics import ClassificationMetrics

SCORES = ("accuracy", "top5", "macro_f1")  # those of evaluation.scoring.score that are printed and tracked


def scores_by_level(taxonomy: dict, features: Features) -> Callable[[EvalPrediction], dict[str, float]]:
    """Trainer's compute_metrics. taxonomy: of the model's config; features: of the dataset, with the levels' names."""
    *above, label = taxonomy["levels"]
    above.reverse()
    tree = Taxonomy([taxonomy["paths"][name] for name in features[label].names], taxonomy["levels"])
    ancestors = {}
    for level in above:
        ids = {name: i for i, name in enumerate(features[level].names)}
        categories = tree.categories[taxonomy["levels"].index(level)]
        ancestors[level] = np.array([ids.get(name, -1) for name in categories])
    return partial(score, ancestors=ancestors)


def score(prediction: EvalPrediction, ancestors: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy, top-5, macro-F1 and, for each coarser level, the accuracy of the predicted label's ancestor.

    ancestors: by level, fine to coarse, the ancestor's id for every label id (-1: none).
    """
    labels, coarser = prediction.label_ids
    scores = ClassificationMetrics().compute(predictions=prediction.predictions, references=labels)
    predicted = prediction.predictions.argmax(axis=1)
    for column, (level, ancestor) in enumerate(ancestors.items()):
        scores[f"{level}_accuracy"] = float((ancestor[predicted] == coarser[:, column]).mean())
    return scores
