"""Tell pictures of things that a model does not know: fit the score's weight and threshold, and measure how it does.

    detector, auroc = fit_unknown(validation, class_centres(training), np.unique(training.truth), taxonomy)

The score is the energy of the logits (Liu et al. 2020) plus the cosine distance of the embedding to the nearest class
mean. How much the distance counts is decided by holding out whole categories: their labels lose logit and class mean,
and their pictures then play the unknown ones. No model is trained again for it, so the embeddings have seen them.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from app.calibration import UnknownDetector, centre_distance, energy, normalised
from app.model_files import Taxonomy
from split_outputs import SplitOutputs

FALSE_ALARMS = 0.02  # share of known validation pictures that the threshold calls unknown
WEIGHTS = (0.0, 5.0, 10.0, 20.0, 40.0)  # of the distance, in units of the energy
FOLDS = 5
RARE = 0.05  # categories with a smaller share of the pictures are held out; a large one would leave too little
ALWAYS_UNKNOWN = 0.5


def class_centres(split: SplitOutputs) -> np.ndarray:
    """The mean embedding of each label that has pictures, of length 1: (labels with pictures, dim) float32; their ids
    are np.unique(split.truth)."""
    embeddings = normalised(split.embeddings)
    return normalised(np.stack([embeddings[split.truth == label].mean(axis=0) for label in np.unique(split.truth)]))


def fit_unknown(
    validation: SplitOutputs, centres: np.ndarray | None, centre_labels: np.ndarray | None, taxonomy: Taxonomy
) -> tuple[UnknownDetector, float]:
    """A detector that calls FALSE_ALARMS of the validation pictures unknown, and its AUROC on held-out categories.

    centres: (centres, dim) of length 1 and the ids of their labels, None for a graph without embeddings.
    """
    weights = WEIGHTS if centres is not None else (0.0,)
    quality = {weight: held_out_auroc(validation, centres, centre_labels, taxonomy, weight) for weight in weights}
    weight = max(quality, key=quality.__getitem__)
    raw = raw_scores(validation.logits, validation.embeddings, centres, weight)
    detector = UnknownDetector(
        method="energy" if weight == 0 else "centres",
        threshold=ALWAYS_UNKNOWN,
        middle=float(np.quantile(raw, 1 - FALSE_ALARMS)),
        width=max(float(raw.std()), 1e-6),
        weight=weight,
        centres=None if weight == 0 else centres,
    )
    return detector, quality[weight]


def raw_scores(
    logits: np.ndarray, embeddings: np.ndarray | None, centres: np.ndarray | None, weight: float
) -> np.ndarray:
    """(rows,) float64, higher for stranger pictures."""
    return energy(logits) + (weight * centre_distance(embeddings, centres) if weight else 0)


def held_out_auroc(
    split: SplitOutputs, centres: np.ndarray | None, centre_labels: np.ndarray | None, taxonomy: Taxonomy, weight: float
) -> float:
    """Mean area under the ROC curve over the folds of held-out categories; nan where nothing can be held out."""
    areas = []
    for held_out in folds(split.truth, taxonomy):
        kept = ~held_out
        left = None if centres is None else centres[kept[centre_labels]]
        scores = raw_scores(split.logits[:, kept], split.embeddings, left, weight)
        areas.append(roc_auc_score(held_out[split.truth], scores))
    return float(np.mean(areas)) if areas else float("nan")


def folds(truth: np.ndarray, taxonomy: Taxonomy) -> list[np.ndarray]:
    """(labels,) bool for each fold: the labels of its rare categories, one level above the labels if there is one."""
    nodes = taxonomy.nodes[-2 if len(taxonomy.levels) > 1 else -1]
    counts = np.bincount(nodes[truth], minlength=nodes.max() + 1)
    rare = np.flatnonzero((counts > 0) & (counts < RARE * len(truth)))
    masks = [np.isin(nodes, rare[start::FOLDS]) for start in range(min(FOLDS, len(rare)))]
    return [mask for mask in masks if not mask.all()]
