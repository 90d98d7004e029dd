"""Tell out-of-distribution images from known ones: fit the score's weight and threshold, and measure how it does.

    detector, auroc = fit_unknown(validation, centers_of(training, validation), taxonomy)

The score is the energy of the logits (Liu et al. 2020) plus the cosine distance of the embedding to the nearest class
mean. How much the distance counts is decided by holding out whole categories: their labels lose logit and class mean,
and their images then play the unknown ones. No model is trained again for this, so the embeddings have seen them.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import roc_auc_score

from app.calibration import UnknownDetector, energy, normalized
from app.taxonomy import Taxonomy
from evaluation.predictions import SplitOutputs

FALSE_ALARMS = 0.02  # share of known validation images that the threshold calls unknown
WEIGHTS = (0.0, 5.0, 10.0, 20.0, 40.0)  # of the distance, in units of the energy
# Held-out categories are products too. Against what is not a product, such as noise or a page of text, the distance is
# the guard, so it counts as much as this loss of the area under the ROC curve allows.
PRICE = 0.03
FOLDS = 5
RARE = 0.05  # categories with a smaller share of the images are held out; a large one would leave too little
ALWAYS_UNKNOWN = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Centers:
    """vectors: (classes, dim) float32, the mean embedding of each class, of length 1. labels: (classes,) their ids.
    similarity: (rows, classes), the cosine of each held-out image to each mean."""

    vectors: np.ndarray
    labels: np.ndarray
    similarity: np.ndarray


def centers_of(training: SplitOutputs, held_out: SplitOutputs) -> Centers:
    labels = np.unique(training.truth)
    vectors = class_means(training.embeddings, training.truth, labels)
    return Centers(vectors, labels, normalized(held_out.embeddings) @ vectors.T)


def out_of_fold_centers(images: SplitOutputs, fold_of: np.ndarray) -> Centers:
    """The means of all images; similarity is to those of the folds that an image is not in. fold_of: (rows,)."""
    labels = np.unique(images.truth)
    similarity = np.empty((len(fold_of), len(labels)), dtype=np.float32)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        means = class_means(images.embeddings[~held], images.truth[~held], labels)
        similarity[held] = normalized(images.embeddings[held]) @ means.T
    return Centers(class_means(images.embeddings, images.truth, labels), labels, similarity)


def class_means(embeddings: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(labels, dim) float32 of length 1; zeros for a label without images, which is similar to nothing."""
    embeddings = normalized(embeddings)
    sums = [embeddings[truth == label].sum(axis=0) for label in labels]
    return normalized(np.stack(sums))


def fit_unknown(validation: SplitOutputs, centers: Centers | None, taxonomy: Taxonomy) -> tuple[UnknownDetector, float]:
    """A detector that calls FALSE_ALARMS of the validation images unknown, and its AUROC on held-out categories.

    centers: None for a graph without embeddings.
    """
    weights = WEIGHTS if centers is not None else (0.0,)
    exact = exactly_labeled(validation, centers)
    quality = {weight: held_out_auroc(*exact, taxonomy, weight) for weight in weights}
    weight = max(candidate for candidate in weights if not quality[candidate] < max(quality.values()) - PRICE)
    raw = raw_scores(validation.logits, None if weight == 0 else centers.similarity, weight)
    detector = UnknownDetector(
        method="energy" if weight == 0 else "centres",
        threshold=ALWAYS_UNKNOWN,
        middle=float(np.quantile(raw, 1 - FALSE_ALARMS)),
        width=max(float(raw.std()), 1e-6),
        weight=weight,
        centers=None if weight == 0 else centers.vectors,
    )
    return detector, quality[weight]


def exactly_labeled(split: SplitOutputs, centers: Centers | None) -> tuple[SplitOutputs, Centers | None]:
    """The rows of which a single label is right, with that label as their truth: a coarser class cannot be held out."""
    if split.members is None:
        return split, centers
    right = split.right()
    exact = right.sum(axis=1) == 1
    rows = replace(split.rows(exact), truth=right[exact].argmax(axis=1), members=None)
    return rows, centers and replace(centers, similarity=centers.similarity[exact])


def raw_scores(logits: np.ndarray, similarity: np.ndarray | None, weight: float) -> np.ndarray:
    """(rows,) float64, the higher the further out of distribution."""
    return energy(logits) + (weight * (1 - similarity.max(axis=1)) if weight else 0)


def held_out_auroc(split: SplitOutputs, centers: Centers | None, taxonomy: Taxonomy, weight: float) -> float:
    """Mean area under the ROC curve over the folds of held-out categories; nan where nothing can be held out."""
    areas = []
    for held_out in folds(split.truth, taxonomy):
        kept = ~held_out
        similarity = None if centers is None else centers.similarity[:, kept[centers.labels]]
        scores = raw_scores(split.logits[:, kept], similarity, weight)
        areas.append(roc_auc_score(held_out[split.truth], scores))
    return float(np.mean(areas)) if areas else float("nan")


def folds(truth: np.ndarray, taxonomy: Taxonomy) -> list[np.ndarray]:
    """(labels,) bool for each fold: the labels of its rare categories, one level above the labels if there is one."""
    nodes = taxonomy.nodes[-2 if len(taxonomy.levels) > 1 else -1]
    counts = np.bincount(nodes[truth], minlength=nodes.max() + 1)
    rare = np.flatnonzero((counts > 0) & (counts < RARE * len(truth)))
    masks = [np.isin(nodes, rare[start::FOLDS]) for start in range(min(FOLDS, len(rare)))]
    return [mask for mask in masks if not mask.all()]
