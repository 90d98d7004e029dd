"""Classifiers on the features of weights that are not trained further: a linear layer, and nearest neighbours.

strength = choose_strength(embeddings, truth, fold_of)             # by cross-validation
logits = held_out_logits(embeddings, truth, fold_of, strength)     # each image's from the folds that did not hold it
weight, bias = linear_layer(embeddings, truth, strength)           # for the network that gave the features
model = with_layer("pretrained/lite2", names, 260, weight, bias)
fit_head(Network.around(model, normalization), images["train"])    # in place, before the whole network is trained

embeddings: (views, rows, dim) float32, such as an image's and its mirror image's. Fitted to the end, with no step size
to choose and no epoch to stop at; on a few hundred images that is worth more than moving the features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits
from tqdm import tqdm
from transformers import PreTrainedModel

from models.registry import build_model
from training.data import Images
from training.network import BATCH_SIZE, Network, linear_head

NEIGHBORS = 5
STRENGTH = 10.0  # inverse of the regularization, scikit-learn's C
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
ROWS_TO_CHOOSE = 3000  # by; more would take minutes
NEVER = -30.0  # logit of a class that no training image has


def choose_strength(embeddings: np.ndarray, truth: np.ndarray, fold_of: np.ndarray) -> float:
    """The C whose classifiers find what their folds held out most likely; fold_of: (rows,)."""
    rows = np.random.default_rng(0).permutation(len(truth))[:ROWS_TO_CHOOSE]
    some, labels, folds = embeddings[:, rows], truth[rows], fold_of[rows]

    def surprise(strength: float) -> float:
        logits = held_out_logits(some, labels, folds, strength).mean(axis=0)
        return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())

    return min(STRENGTHS, key=surprise)


def linear_layer(
    embeddings: np.ndarray, truth: np.ndarray, strength: float = STRENGTH
) -> tuple[np.ndarray, np.ndarray]:
    """Weight (classes, dim) and bias (classes,) float64 of logistic regression in which all classes count alike."""
    weight, bias = np.zeros((truth.max() + 1, embeddings.shape[-1])), np.full(truth.max() + 1, NEVER)
    if len(np.unique(truth)) == 1:
        bias[truth[0]] = 0.0
        return weight, bias
    length = np.linalg.norm(embeddings, axis=-1).mean()
    regression = LogisticRegression(C=strength, max_iter=3000, class_weight="balanced")
    with threadpool_limits(1):  # the matrices are small: on a busy machine several threads take a hundred times as long
        regression.fit(np.concatenate(embeddings) / length, np.tile(truth, len(embeddings)))
    coefficients, intercepts = regression.coef_ / length, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn then keeps the difference of the two
        coefficients, intercepts = (np.concatenate([-half, half]) for half in (coefficients / 2, intercepts / 2))
    weight[regression.classes_], bias[regression.classes_] = coefficients, intercepts
    return weight, bias


def with_layer(source: str, labels: Sequence[str], size: int, weight: np.ndarray, bias: np.ndarray) -> PreTrainedModel:
    """The network that gave the features, with the linear layer as its head; labels that the layer lacks never win."""
    model = build_model(source, list(labels), size, pretrained=source, from_scratch=False)
    set_layer(model, weight, bias)
    return model


def set_layer(model: PreTrainedModel, weight: np.ndarray, bias: np.ndarray) -> None:
    """Make this the model's head; labels that the layer lacks never win."""
    layer = linear_head(model)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(NEVER)
        layer.weight[: len(weight)] = torch.from_numpy(weight)
        layer.bias[: len(bias)] = torch.from_numpy(bias)


def fit_head(network: Network, images: Images) -> None:
    """Replace the head's random weights by a layer fitted on the features that the network has for these images.

    A head that begins at random passes its errors down to the pretrained features until it has learned (Kumar et al.
    2022, arXiv:2202.10054).
    """
    labeled = np.flatnonzero(images.labels[:, 0] >= 0)
    starts = tqdm(range(0, len(labeled), BATCH_SIZE), "fit the head", unit=" batches", disable=None)
    batches = (images.__getitems__(labeled[start : start + BATCH_SIZE].tolist()) for start in starts)
    features = np.concatenate([network.embeddings(pixels) for pixels, _, _ in batches])
    set_layer(network.model, *linear_layer(features[None], images.labels[labeled, 0]))


def held_out_logits(
    embeddings: np.ndarray, truth: np.ndarray, fold_of: np.ndarray, strength: float = STRENGTH
) -> np.ndarray:
    """(2, rows, classes) float64, of the image and of its mirror image."""
    logits = np.full((*embeddings.shape[:2], truth.max() + 1), NEVER)
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        weight, bias = linear_layer(embeddings[:, ~held_out], truth[~held_out], strength)
        logits[:, held_out, : len(bias)] = embeddings[:, held_out] @ weight.T + bias
    return logits


def held_out_neighbors(embeddings: np.ndarray, truth: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """(rows, classes) float64: the classes' shares among the nearest images of other folds by cosine."""
    views = [normalize(view.astype(np.float64)) for view in embeddings]
    shares = np.zeros((len(truth), truth.max() + 1))
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        classifier = KNeighborsClassifier(NEIGHBORS, weights="distance", metric="cosine")
        classifier.fit(np.vstack([view[~held_out] for view in views]), np.tile(truth[~held_out], len(views)))
        probabilities = np.mean([classifier.predict_proba(view[held_out]) for view in views], axis=0)
        shares[np.ix_(held_out, classifier.classes_)] = probabilities
    return shares
