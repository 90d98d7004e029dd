"""The automation scorecard: what share of images a calibrated model can publish unseen, and how right it then is.

    python -m evaluation.automation --model app/models/fashion --dataset data/kaggle_fashion     # 50 s, 2 cores
    python -m evaluation.automation --model app/models/fashion --dataset data/kaggle_fashion --dataset data/clothing \\
        --label_map evaluation/label_maps/clothing.json --others runs/others/test/*

For each target precision the thresholds are fitted on the validation splits, as calibrate.py does, and judged on the
test split of each dataset, which no choice saw: one table per kind of image. Writes results/automation.md and
results/automation.png. With --others, folders of images of other things, it also says how well those are told from the
products.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from app.calibration import CALIBRATION_FILE
from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import write_text
from app.model_files import ModelError
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.kinds import pool, read_kinds, read_label_map
from evaluation.predictions import SplitOutputs
from evaluation.provenance import command_line
from evaluation.runs import RESULTS
from evaluation.scoring import expected_calibration_error, group_resamples, with_interval
from evaluation.thresholds import LevelAnswers, Thresholds, accepted, answers, fit_thresholds
from inference.readers.files import local_reader

TARGETS = (0.95, 0.98, 0.99)
MAIN_TARGET = 0.99
MAX_OTHERS = 300

Judged = dict[str, tuple[LevelAnswers, np.ndarray]]  # by level the answers on test, and (rows,) which are published


@dataclass(frozen=True, slots=True)
class Share:
    """One level at one target: values with 95% intervals, {"value", "interval"}."""

    level: str
    target: float
    published: dict
    precision: dict


def main(argv: list[str] | None = None) -> None:
    start = time.perf_counter()
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        classifier = load_calibrated(options.model)
        label_map = read_label_map(options.label_map)
        validation = pool(list(read_kinds(classifier, options.dataset, "validation", label_map).values()))
        kinds = read_kinds(classifier, options.dataset, options.split, label_map)
        others = {folder.name: unknown_scores(classifier, folder) for folder in options.others}
        thresholds = {target: thresholds_of(classifier, *validation, target) for target in TARGETS}
        text = heading(classifier, options.split, command_line("-m evaluation.automation", argv))
        printed, first_shares = [], []
        for (name, test), dataset in zip(kinds.items(), options.dataset, strict=True):
            section, shares = kind_section(classifier, name, dataset, test, thresholds, others)
            text, printed = [*text, *section], [*printed, name, *overall(shares)]
            first_shares = first_shares or shares
        write(options.output, text, first_shares)
    print("\n".join(printed))
    print(f"written to {options.output / 'automation.md'} and .png in {time.perf_counter() - start:.0f} s")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.automation", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with the calibration of calibrate.py")
    parser.add_argument(
        "--dataset", required=True, type=Path, action="append",
        help="prepared dataset with a validation and a test split; give it again for each kind of image",
    )  # fmt: skip
    parser.add_argument(
        "--label_map", type=Path, metavar="FILE", help="JSON that says what classes of other names mean to the model"
    )
    parser.add_argument("--split", default="test", help="split to judge on (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder (default: results/)")
    parser.add_argument(
        "--others", type=Path, nargs="+", default=[], metavar="DIR", help="images of things the model does not know"
    )
    return parser


def load_calibrated(folder: Path) -> Classifier:
    classifier = Classifier.load(folder)
    if classifier.calibration is None:
        raise ModelError(f"{folder} has no {CALIBRATION_FILE}; run calibrate.py on it first")
    return classifier


def unknown_scores(classifier: Classifier, folder: Path) -> np.ndarray:
    """(images,) scores of the readable images in a folder. Raises UserError where there are none."""
    sources = (source for _, source in islice(local_reader(str(folder), None), MAX_OTHERS))
    scores = [row.unknown_score for row in classifier.stream_scores(sources) if row.unknown_score is not None]
    if not scores:
        raise UserError(f"--others {folder} holds no readable images")
    return np.array(scores)


def kind_section(
    classifier: Classifier,
    name: str,
    dataset: Path,
    test: SplitOutputs,
    thresholds: Mapping[float, Thresholds],
    others: Mapping[str, np.ndarray],
) -> tuple[list[str], list[Share]]:
    """What the page says about one kind of image."""
    judged = {target: judge(classifier, test, fitted) for target, fitted in thresholds.items()}
    weights = group_resamples(test.groups, test.truth)
    shares = shares_of(judged, weights)
    deeper = shares_of({target: or_deeper(levels) for target, levels in judged.items()}, weights)
    text = [f"## {name}", "", f"{len(test.truth):,} images, data {dataset_fingerprint(dataset)}.", ""]
    text += overall([*shares, *deeper])
    text += trust(classifier, test, others)
    return text + (by_category(judged[MAIN_TARGET], test, classifier) if test.members is None else []), shares


def thresholds_of(classifier: Classifier, validation: SplitOutputs, kind_of: np.ndarray, target: float) -> Thresholds:
    probabilities = classifier.probabilities(validation.logits)
    return fit_thresholds(classifier.taxonomy, probabilities, validation.truth, target, validation.members, kind_of)


def judge(classifier: Classifier, test: SplitOutputs, fitted: Thresholds) -> Judged:
    """Published are the answers above the thresholds, fitted on validation, that are not unknown."""
    probabilities = classifier.probabilities(test.logits)
    known = ~is_unknown(classifier, test)
    judged = {}
    for depth, level in enumerate(classifier.taxonomy.levels):
        answered = answers(classifier.taxonomy, probabilities, test.truth, depth, test.members)
        judged[level] = (answered, accepted(answered, fitted[level]) & known)
    return judged


def shares_of(judged: Mapping[float, Judged], weights: np.ndarray) -> list[Share]:
    return [
        share(level, target, *answered, weights) for target in TARGETS for level, answered in judged[target].items()
    ]


def or_deeper(judged: Judged) -> Judged:
    """What is published at a level or below it: each answer at the deepest level that is sure, its published_path."""
    together: Judged = {}
    published = right = np.zeros(len(next(iter(judged.values()))[1]), dtype=bool)
    for level, (answered, passed) in reversed(judged.items()):
        right = np.where(published, right, answered.right)
        published = published | passed
        together[f"{level} or deeper"] = (replace(answered, right=right), published)
    return dict([*together.items()][1:])  # below the deepest level there is none


def is_unknown(classifier: Classifier, split: SplitOutputs) -> np.ndarray:
    detector = classifier.calibration.unknown
    if detector is None:
        return np.zeros(len(split.truth), dtype=bool)
    return detector.scores(split.logits, split.embeddings) >= detector.threshold


def share(level: str, target: float, answered: LevelAnswers, published: np.ndarray, weights: np.ndarray) -> Share:
    """weights: how often each row occurs in each bootstrap sample, as in validate.py."""
    total, passed = weights.sum(axis=1), weights @ published.astype(np.float32)
    right = weights @ (published & answered.right).astype(np.float32)
    precision = np.divide(right, passed, out=np.full_like(right, np.nan), where=passed > 0)
    return Share(level, target, with_interval(passed / total), with_interval(precision))


def heading(classifier: Classifier, split: str, command: str) -> list[str]:
    return [
        "# What can be published unseen",
        "",
        f"Model `{classifier.name}` ({classifier.precision}) on the {split} split of each kind of image, "
        f"{datetime.now(UTC).date().isoformat()}. Thresholds come from the validation splits. "
        "Ranges are 95% intervals: bootstrap over products, by category "
        "Wilson's.",
        "",
        f"    {command}",
        "",
    ]


def overall(shares: list[Share]) -> list[str]:
    lines = ["| level | promised precision | measured precision | published |", "|---|---|---|---|"]
    for row in shares:
        published = with_range(row.published)
        lines.append(f"| {row.level} | {row.target:.0%} | {with_range(row.precision)} | **{published}** |")
    return [*lines, ""]


def with_range(score: dict) -> str:
    if score["value"] is None:
        return "–"
    low, high = score["interval"]
    return f"{score['value']:.1%} ({100 * low:.1f}–{100 * high:.1f})"


def trust(classifier: Classifier, test: SplitOutputs, others: Mapping[str, np.ndarray]) -> list[str]:
    """Calibration error, prediction sets and the detection of unknown things."""
    probabilities = classifier.probabilities(test.logits)
    lines = []
    if test.members is None:
        lines.append(f"Expected calibration error: {expected_calibration_error(probabilities, test.truth):.3f}.")
    calibration = classifier.calibration
    if calibration.prediction_set_quantile is not None:
        sets = [calibration.prediction_set(row) for row in probabilities]
        inside = np.mean([row[labels].any() for row, labels in zip(test.right(), sets, strict=True)])
        size = np.mean([len(labels) for labels in sets])
        coverage = calibration.content["conformal"]["coverage"]
        lines.append(
            f"Prediction sets hold the true label of {inside:.1%} (wanted {coverage:.0%}), {size:.1f} labels each."
        )
    if calibration.unknown is not None:
        known = calibration.unknown.scores(test.logits, test.embeddings)
        threshold = calibration.unknown.threshold
        lines.append(f"Called unknown: {(known >= threshold).mean():.1%} of the products.")
        for name, scores in others.items():
            area = roc_auc_score(np.repeat([0, 1], [len(known), len(scores)]), np.concatenate([known, scores]))
            called = f"{(scores >= threshold).mean():.0%} of {len(scores)} called unknown"
            lines.append(f"Images in `{name}`: AUROC {area:.3f} against the products, {called}.")
    return [*(f"- {line}" for line in lines), ""]


def by_category(judged: Judged, test: SplitOutputs, classifier: Classifier) -> list[str]:
    """One table per level below the broadest, the largest categories first."""
    lines = []
    for depth, (level, (answered, published)) in enumerate(judged.items()):
        if depth == 0 and len(judged) > 1:
            continue
        truth = np.array([classifier.taxonomy.categories[depth][label] for label in test.truth])
        lines += [f"### By {level}, at {MAIN_TARGET:.0%}", ""]
        lines += ["| category | images | published | answers published | right among them |", "|---|---|---|---|---|"]
        for name, count in Counter(truth.tolist()).most_common():
            as_name = published & (answered.category == name)
            right = proportion(int((as_name & answered.right).sum()), int(as_name.sum()))
            passed = proportion(int(((truth == name) & published).sum()), count)
            lines.append(f"| {name} | {count} | {passed} | {int(as_name.sum())} | {right} |")
        lines.append("")
    return lines


def proportion(hits: int, count: int) -> str:
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.0%} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def write(results: Path, text: list[str], shares: list[Share]) -> None:
    """automation.md and automation.png."""
    from evaluation.figures import DOTS_PER_INCH, automation_figure  # matplotlib takes a second to load

    results.mkdir(parents=True, exist_ok=True)
    write_text(results / "automation.md", "\n".join(text) + "\n")
    automation_figure(shares).savefig(results / "automation.png", dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
