"""What a model with titles would answer and publish on a split: from the image alone, from the title alone, from both.

fitted = fit(taxonomy, validation, scale, targets)                # on some products
answered = apply(taxonomy, detector, test, scale, fitted)         # {"both": Answered(…), …} on others
answered = cross_fitted(taxonomy, detector, validation, scale, targets)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from app.calibration import UnknownDetector
from app.probabilities import Softmax, softmax
from app.taxonomy import Taxonomy
from app.titled import BOTH, IMAGE, TITLE
from app.titles import JoinSettings
from evaluation.thresholds import Thresholds, accepted, answers, fit_thresholds
from evaluation.title_join import TitledOutputs, fit_settings, fit_title_thresholds, has_title, joined

SOURCES = (IMAGE, TITLE, BOTH)
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """thresholds: for each target and source."""

    settings: JoinSettings
    thresholds: dict[float, dict[str, Thresholds]]


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What may be published unseen of each row. depth: (rows,) int, the deepest level that is certain enough; -1 for
    none. right: (rows,) bool, whether the category at that level is."""

    depth: np.ndarray
    right: np.ndarray

    def only(self, allowed: np.ndarray) -> "Published":
        return Published(np.where(allowed, self.depth, -1), self.right & allowed)

    def where(self, chosen: np.ndarray, other: "Published") -> "Published":
        return Published(np.where(chosen, self.depth, other.depth), np.where(chosen, self.right, other.right))


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """probabilities: (rows, labels). published: for each target."""

    probabilities: np.ndarray
    published: dict[float, Published]


def fit(taxonomy: Taxonomy, products: TitledOutputs, scale: Softmax, targets: Sequence[float]) -> Fitted:
    of_image = scale(products.image.logits)
    settings, thresholds = fit_settings(taxonomy, products, scale.temperature), {}
    for target in targets:
        fitted = fit_title_thresholds(taxonomy, products, settings, target)
        thresholds[target] = {IMAGE: fit_thresholds(taxonomy, of_image, products.image.truth, target), **fitted}
    return Fitted(settings, thresholds)


def apply(
    taxonomy: Taxonomy,
    detector: UnknownDetector | None,
    products: TitledOutputs,
    scale: Softmax,
    fitted: Fitted,
) -> dict[str, Answered]:
    """By the rules of app/titles.py."""
    settings = fitted.settings
    titled = has_title(products, settings.least_known)
    unknown = np.zeros(len(titled), dtype=bool)
    if detector is not None:
        unknown = detector.scores(products.image.logits, products.image.embeddings) >= detector.threshold
    of_image = scale(products.image.logits)
    of_title = softmax(settings.lone_weight * products.title_logits)
    joint, contradicts = joined(taxonomy, products, settings)
    joint[~titled] = of_image[~titled]
    published: dict[str, dict[float, Published]] = {source: {} for source in SOURCES}
    for target, thresholds in fitted.thresholds.items():
        by_title = passed(taxonomy, products, of_title, thresholds[TITLE])
        by_image = passed(taxonomy, products, of_image, thresholds[IMAGE]).only(~unknown)
        by_both = passed(taxonomy, products, joint, thresholds[BOTH])
        by_both = by_both.only(~contradicts & ~(unknown & (by_title.depth < 0)))
        published[IMAGE][target], published[TITLE][target] = by_image, by_title.only(titled)
        published[BOTH][target] = by_both.where(titled, by_image)
    probabilities = {IMAGE: of_image, TITLE: of_title, BOTH: joint}
    return {source: Answered(probabilities[source], published[source]) for source in SOURCES}


def passed(taxonomy: Taxonomy, products: TitledOutputs, probabilities: np.ndarray, thresholds: Thresholds) -> Published:
    """By confidence alone."""
    images = products.image
    found = nothing(len(images.truth))
    for depth, level in enumerate(taxonomy.levels):
        answered = answers(taxonomy, probabilities, images.truth, depth, images.members)
        deeper = Published(np.full(len(images.truth), depth), answered.right)
        found = deeper.where(accepted(answered, thresholds[level]), found)
    return found


def nothing(rows: int) -> Published:
    return Published(np.full(rows, -1), np.zeros(rows, dtype=bool))


def cross_fitted(
    taxonomy: Taxonomy,
    detector: UnknownDetector | None,
    products: TitledOutputs,
    scale: Softmax,
    targets: Sequence[float],
) -> dict[str, Answered]:
    """No product is judged by what it helped to fit."""
    rows, labels = products.image.logits.shape
    whole = {
        source: Answered(np.zeros((rows, labels)), {target: nothing(rows) for target in targets}) for source in SOURCES
    }
    for learned, judged in GroupKFold(
        min(FOLDS, len(np.unique(products.image.groups))), shuffle=True, random_state=0
    ).split(np.arange(rows), groups=products.image.groups):
        fitted = fit(taxonomy, products.rows(learned), scale, targets)
        part = apply(taxonomy, detector, products.rows(judged), scale, fitted)
        for source in SOURCES:
            whole[source].probabilities[judged] = part[source].probabilities
            for target in targets:
                whole[source].published[target].depth[judged] = part[source].published[target].depth
                whole[source].published[target].right[judged] = part[source].published[target].right
    return whole
