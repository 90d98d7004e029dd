"""Learn to tell known images from others: a logistic regression on the embedding and the logits (outlier exposure).

    detector, report = fit_head(kinds, others, learned)        # each {name: SplitOutputs}

Every kind of known image and every folder of others counts alike, however many images it has. The threshold comes from
images that neither the model nor the regression learned (cross-fitting): no kind loses more than FALSE_ALARMS of its
images to it. `learned` are images that the model was trained on: the regression may learn from them, too.
After Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure" (https://arxiv.org/abs/1812.04606).
"""

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from app.calibration import HEAD_EXTRAS, UnknownDetector, head_inputs
from evaluation.predictions import SplitOutputs

FALSE_ALARMS = 0.04  # the largest share of a kind's images, not learned, that the threshold calls unknown: 5% elsewhere
FOLDS = 5
MAX_ROWS = 1500  # of a kind; more teach nothing and take long
EMBEDDING_GAIN = 10.0  # the embedding has length 1, the other inputs are standardized: together they weigh alike
STRENGTH = 1.0  # C of the regression; of 0.01 to 3 the best by cross-fitting on what calibrates `fashion`
DIGITS = 5
THRESHOLD = 0.5


def fit_head(
    kinds: Mapping[str, SplitOutputs],
    others: Mapping[str, SplitOutputs],
    learned: Mapping[str, SplitOutputs] | None = None,
) -> tuple[UnknownDetector, dict[str, float]]:
    """The detector, and for each kind and each folder the share called unknown among images that it did not learn."""
    names = [*kinds, *others]
    parts = [thinned(part) for part in (*kinds.values(), *others.values(), *(learned or {}).values())]
    inputs = np.concatenate([head_inputs(part.logits, part.embeddings) for part in parts])
    part_of = np.repeat(np.arange(len(parts)), [len(part.truth) for part in parts])
    groups = np.concatenate([np.char.add(f"{number} ", part.groups.astype(str)) for number, part in enumerate(parts)])
    is_other = (part_of >= len(kinds)) & (part_of < len(names))
    is_judged = part_of < len(names)
    weights = balanced(part_of, is_other)
    scale = scale_of(inputs[~is_other])
    scores = np.empty(len(inputs))
    for shown, held_out in GroupKFold(FOLDS, shuffle=True, random_state=0).split(inputs, groups=groups):
        head, constant = regress(inputs[shown] / scale, is_other[shown], weights[shown])
        scores[held_out] = inputs[held_out] / scale @ head + constant
    head, constant = regress(inputs / scale, is_other, weights)
    limit = max(least_of_few(scores[part_of == number]) for number in range(len(kinds)))
    report = {name: float((scores[part_of == number] >= limit).mean()) for number, name in enumerate(names)}
    report["auroc"] = float(roc_auc_score(is_other[is_judged], scores[is_judged], sample_weight=weights[is_judged]))
    return UnknownDetector("head", THRESHOLD, float(limit - constant), 1.0, head=head / scale), report


def least_of_few(scores: np.ndarray) -> float:
    """The lowest limit that at most FALSE_ALARMS of the scores reach."""
    allowed = int(FALSE_ALARMS * len(scores))
    return float(np.nextafter(np.sort(scores)[::-1][allowed], np.inf))


def thinned(part: SplitOutputs) -> SplitOutputs:
    count = len(part.truth)
    return part.rows(np.linspace(0, count - 1, min(count, MAX_ROWS)).round().astype(int))


def balanced(part_of: np.ndarray, is_other: np.ndarray) -> np.ndarray:
    """(rows,) weights: every part counts alike, and the known ones as much as the others; their mean is 1."""
    weights = 1 / np.bincount(part_of)[part_of]
    for side in (is_other, ~is_other):
        weights[side] /= weights[side].sum()
    return weights * len(weights) / 2


def scale_of(inputs: np.ndarray) -> np.ndarray:
    """What the inputs are divided by: the extras by their deviation, the embedding by 1 / EMBEDDING_GAIN."""
    extras = np.maximum(inputs[:, -HEAD_EXTRAS:].std(axis=0), 1e-6)
    return np.concatenate([np.full(inputs.shape[1] - HEAD_EXTRAS, 1 / EMBEDDING_GAIN), extras])


def regress(inputs: np.ndarray, is_other: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights of a regression on centered inputs, and its constant for inputs as they are."""
    middle = inputs.mean(axis=0)
    model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(inputs - middle, is_other, weights)
    return model.coef_[0], float(model.intercept_[0] - middle @ model.coef_[0])
