"""Fit on held-out products how image and title answer together: titles.json.

    held_out = titled_outputs(classifier, titles.session, "data/kaggle_fashion", "validation", "title")
    settings = fit_settings(classifier.taxonomy, held_out, temperature=1.1)
    thresholds = fit_title_thresholds(classifier.taxonomy, held_out, settings, target=0.99)

Two weights (a product of experts, Hinton 2002) minimize the negative log-likelihood, in which rare labels count more;
one factor for both then makes the confidences true. How little image and title may agree comes from the true titles
that agree least. Few rows prove little: a prior holds the weights near those of a large catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from scipy.optimize import minimize
from scipy.special import log_softmax

from app.classifier import Classifier
from app.errors import UserError
from app.probabilities import softmax
from app.taxonomy import Taxonomy
from app.titled import BOTH, TITLE
from app.titles import JoinSettings, agreement, contradict, joint_logits, title_logits
from evaluation.predictions import SplitOutputs, load_split, read_titles, run_images
from evaluation.thresholds import Thresholds, fit_thresholds

IMAGE_FLOOR = 0.01  # of 0.001 to 0.03, all as accurate, it served rare labels well
PRIOR = {"image_weight": 0.6, "title_weight": 3.5, "lone_weight": 5.0}  # of a catalogue with 4,000 held-out products
PRIOR_DEVIATION = 0.5  # of their logarithms, a normal distribution
RARE_LABELS = 0.5  # the power of a label's rarity that weighs its rows
UNKNOWN_TITLES = 0.005  # share of the titles that are known least and count as none: other words tell nothing
FALSE_ALARMS = 0.01  # share of true titles that may be taken for contradictions at a level
TRIES = 100


@dataclass(frozen=True, slots=True, eq=False)
class TitledOutputs:
    """Products in a split's order. image: the image model's outputs. title_logits: (rows, labels) float64.
    known: (rows,) the share of each title that the model knows."""

    image: SplitOutputs
    title_logits: np.ndarray
    known: np.ndarray

    def rows(self, chosen: np.ndarray) -> "TitledOutputs":
        return TitledOutputs(self.image.rows(chosen), self.title_logits[chosen], self.known[chosen])


def titled_outputs(
    classifier: Classifier, session: InferenceSession, dataset: str | Path, split: str, column: str
) -> TitledOutputs:
    """Run both models. session: of titles.onnx. Raises UserError for a dataset without such titles."""
    rows, truth = load_split(classifier, dataset, split)
    titles = read_titles(rows, dataset, column)
    image = replace(run_images(classifier, rows, None, f"{Path(dataset).name} {split}"), truth=truth)
    return with_titles(image, session, titles)


def with_titles(image: SplitOutputs, session: InferenceSession, titles: Sequence[str]) -> TitledOutputs:
    """titles: of the products whose images these are."""
    logits, known = zip(*(title_logits(session, title) for title in titles), strict=True)
    return TitledOutputs(image, np.array(logits, dtype=np.float64), np.array(known))


def fit_settings(taxonomy: Taxonomy, held_out: TitledOutputs, temperature: float) -> JoinSettings:
    """How image and title are joined. temperature: of the image alone. Raises UserError for too few titles."""
    known = held_out.known[held_out.known > 0]
    least_known = float(np.quantile(known, UNKNOWN_TITLES)) if len(known) else 0.0
    with_title = held_out.rows(has_title(held_out, least_known))
    if len(np.unique(with_title.image.groups)) < 2:
        raise UserError("fewer than two held-out products have a title that says something: nothing can be fitted")
    settings = replace(fit_weights(with_title, temperature), least_known=least_known)
    return replace(settings, least_agreement=fit_agreement(taxonomy, with_title, settings))


def fit_title_thresholds(
    taxonomy: Taxonomy, held_out: TitledOutputs, settings: JoinSettings, target: float
) -> dict[str, Thresholds]:
    """Those of answers from a title and from both."""
    with_title = held_out.rows(has_title(held_out, settings.least_known))
    truth = with_title.image.truth
    joint, contradicts = joined(taxonomy, with_title, settings)
    alone = softmax(settings.lone_weight * with_title.title_logits)
    return {
        TITLE: fit_thresholds(taxonomy, alone, truth, target),
        BOTH: fit_thresholds(taxonomy, joint[~contradicts], truth[~contradicts], target),
    }


def has_title(products: TitledOutputs, least_known: float) -> np.ndarray:
    """(rows,) bool, whose title says something, as Titles.logits decides it."""
    return (products.known > 0) & (products.known >= least_known)


def joined(taxonomy: Taxonomy, products: TitledOutputs, settings: JoinSettings) -> tuple[np.ndarray, np.ndarray]:
    """(rows, labels) probabilities from both, and (rows,) which titles contradict their image."""
    image_logits = products.image.logits.astype(np.float64)
    joint = softmax(joint_logits(settings, image_logits, products.title_logits))
    return joint, contradict(settings, taxonomy, image_logits, products.title_logits)


def fit_weights(products: TitledOutputs, temperature: float) -> JoinSettings:
    """The weights; what else there is to know is left open. temperature: of the image alone."""
    truth = products.image.truth
    of_image = np.log(softmax(products.image.logits.astype(np.float64) / temperature) + IMAGE_FLOOR)
    prior = (PRIOR["image_weight"], PRIOR["title_weight"])
    image_weight, title_weight = minimum((of_image, products.title_logits), truth, prior, RARE_LABELS)
    both = image_weight * of_image + title_weight * products.title_logits
    (factor,) = minimum((both,), truth, (1.0,), 0.0)
    (lone_weight,) = minimum((products.title_logits,), truth, (PRIOR["lone_weight"],), 0.0)
    weights = (factor * image_weight, temperature, IMAGE_FLOOR, factor * title_weight, lone_weight)
    return JoinSettings(*weights, least_known=0.0, least_agreement=())


def minimum(
    parts: tuple[np.ndarray, ...], truth: np.ndarray, prior: tuple[float, ...], rarity: float
) -> tuple[float, ...]:
    """The factors of the parts under which the true labels are most likely. rarity: the power of a label's rarity."""
    weights = np.bincount(truth)[truth] ** -rarity
    weights *= len(truth) / weights.sum()
    rows, middle = np.arange(len(truth)), np.log(prior)

    def loss(logarithms: np.ndarray) -> float:
        total = sum(factor * part for factor, part in zip(np.exp(logarithms), parts, strict=True))
        likelihood = float(weights @ log_softmax(total, axis=1)[rows, truth])
        return -likelihood + float((((logarithms - middle) / PRIOR_DEVIATION) ** 2).sum()) / 2

    found = minimize(loss, middle, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3}).x
    return tuple(float(value) for value in np.exp(found))


def fit_agreement(taxonomy: Taxonomy, products: TitledOutputs, settings: JoinSettings) -> tuple[float, ...]:
    """For each level the agreement that FALSE_ALARMS of the true titles do not reach."""
    of_image = softmax(products.image.logits.astype(np.float64) / settings.image_temperature)
    of_title = softmax(settings.lone_weight * products.title_logits)
    return tuple(
        float(np.quantile(agreement(taxonomy, level, of_image, of_title), FALSE_ALARMS))
        for level in range(len(taxonomy.levels))
    )


def wrong_titles(taxonomy: Taxonomy, truth: np.ndarray, within: bool = False, seed: int = 0) -> np.ndarray:
    """(rows,) for each product the number of another one, whose title is wrong for it: of another category at the
    broadest level that has several, or, `within` it, of the same but with another label; -1 where there is none."""
    nodes = taxonomy.nodes
    level = next((level for level in range(len(nodes)) if len(np.unique(nodes[level][truth])) > 1), None)
    if level is None:
        return np.full(len(truth), -1)
    generator, category = np.random.default_rng(seed), nodes[level][truth]

    def fits(other: np.ndarray) -> np.ndarray:
        same = category[other] == category
        return same & (truth[other] != truth) if within else ~same

    wrong = generator.integers(0, len(truth), len(truth))
    for _ in range(TRIES):
        again = ~fits(wrong)
        wrong[again] = generator.integers(0, len(truth), int(again.sum()))
    return np.where(fits(wrong), wrong, -1)
