"""How good a finished model is, on one screen and in scorecard.json beside it.

    card = make_scorecard(classifier, scored, held_out, facts)
    print("\\n".join(lines_of(card)))

Every figure is of images that the model did not learn: accuracy of the test split (else out of fold, else validation),
with 95% intervals by bootstrap over duplicate groups; what can be published by cross-fitting on held-out images.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binomtest

from app.classifier import Classifier
from app.probabilities import Softmax
from app.taxonomy import Taxonomy
from evaluation.calibration import FEW_ROWS, HeldOut
from evaluation.predictions import SplitOutputs
from evaluation.publishable import publishable
from evaluation.scoring import expected_calibration_error, group_resamples, rate
from evaluation.thresholds import answers

VERSION = 1
PROMISES = (0.95, 0.98, 0.99)
PAIRS_SHOWN = 3
RAREST_SHOWN = 3


@dataclass(frozen=True)
class Scored:
    """Images that the model did not learn. where: test, validation or out of fold."""

    where: str
    outputs: SplitOutputs


def make_scorecard(
    classifier: Classifier, scored: Scored, held_out: HeldOut, softmax: Softmax, taught: Counter, facts: dict
) -> dict:
    """The content of scorecard.json. taught: training images by label. facts: command, dataset, time … for the file."""
    images = scored.outputs
    probabilities = softmax(images.logits)
    return {
        "version": VERSION,
        **facts,
        "scored_on": scored.where,
        "rows": len(images.truth),
        "accuracy": accuracy_by_level(classifier.taxonomy, probabilities, images),
        "expected_calibration_error": round(expected_calibration_error(probabilities, images.truth), 4),
        "publishable": [asdict(row) for row in publishable(classifier.taxonomy, held_out, PROMISES)],
        "confused": confused(probabilities.argmax(axis=1), images.truth, classifier.labels),
        "rarest": [{"label": label, "images": count} for label, count in rarest(taught)],
    }


def accuracy_by_level(taxonomy: Taxonomy, probabilities: np.ndarray, images: SplitOutputs) -> list[dict]:
    """At each level the share of images whose most probable category is right, fine to coarse."""
    weights = group_resamples(images.groups, images.truth)
    rights = [answers(taxonomy, probabilities, images.truth, depth).right for depth in range(len(taxonomy.levels))]
    return [
        {"level": level, "value": float(right.mean()), "interval": interval_of(right, weights)}
        for level, right in reversed(list(zip(taxonomy.levels, rights, strict=True)))
    ]


def interval_of(right: np.ndarray, weights: np.ndarray) -> list[float]:
    """95%, the wider of the bootstrap's and Wilson's: with few images of a class the bootstrap has nothing to draw."""
    drawn = rate(right, weights)["interval"]
    exact = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return [round(min(drawn[0], exact.low), 5), round(max(drawn[1], exact.high), 5)]


def confused(predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> list[dict]:
    """The pairs of labels most often taken for each other, in either direction."""
    wrong = predicted != truth
    pairs = Counter(tuple(sorted(pair)) for pair in zip(truth[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    images = Counter(truth.tolist())
    return [
        {"labels": [labels[one], labels[other]], "mistakes": count, "images": images[one] + images[other]}
        for (one, other), count in pairs.most_common(PAIRS_SHOWN)
    ]


def rarest(taught: Counter) -> list[tuple[str, int]]:
    return sorted(taught.items(), key=lambda entry: (entry[1], entry[0]))[:RAREST_SHOWN]


def lines_of(card: dict) -> list[str]:
    """The screen."""
    where = {"test": "on the test split", "out of fold": "out of fold, by models that did not see the image"}
    scored_on = where.get(card["scored_on"], "on the validation split")
    lines = ["", f"How good it is, {scored_on} ({card['rows']:,} images):"]
    for level in card["accuracy"]:
        low, high = level["interval"]
        lines.append(f"  {level['level']:<20} {level['value']:>6.1%} right  ({100 * low:.1f}–{100 * high:.1f})")
    lines += ["", *promises(card["publishable"])]
    if card["confused"]:
        lines += ["", "Most often confused:"]
        for pair in card["confused"]:
            one, other = pair["labels"]
            lines.append(f"  {one} and {other}: {pair['mistakes']} mistakes among {pair['images']} images")
    if card["rarest"]:
        names = ", ".join(f"{entry['label']} ({entry['images']})" for entry in card["rarest"])
        lines += ["", f"Fewest training images: {names}"]
    return lines


def promises(rows: Sequence[dict]) -> list[str]:
    """A table: at each level, what share of the images can be published, for each share of them to be right."""
    if not rows:
        return ["What can be published is not known: that takes held-out images of two different groups"]
    targets = sorted({row["target"] for row in rows})
    lines = ["What can be published unseen, if so many of the published answers are to be right:"]
    lines.append(" " * 22 + "".join(f"{target:>9.0%}" for target in targets))
    for level in dict.fromkeys(row["level"] for row in reversed(rows)):
        shares = {row["target"]: row["published"] / row["rows"] for row in rows if row["level"] == level}
        lines.append(f"  {level:<20}" + "".join(f"{shares[target]:>9.1%}" for target in targets))
    if not any(row["published"] for row in rows):
        lines.append(f"  nothing yet: {rows[0]['rows']} held-out images prove little; it takes about {FEW_ROWS}")
    return lines
