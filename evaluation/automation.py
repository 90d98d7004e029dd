"""The automation scorecard: which share of images a calibrated model can publish unseen, and how right it then is.

    python -m evaluation.automation --model app/models/fashion --dataset data/kaggle_fashion

For each target precision the thresholds are fitted on the validation split, as calibrate.py does, and judged on the
test split. Writes results/automation.md and results/automation.png. With --others, folders of images of other things,
it also says how well those are told from the products.
"""

import argparse
import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from app.calibration import CALIBRATION_FILE
from app.classifier import Classifier, ModelError
from app.images import ImageError
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.predictions import SplitOutputs, run_split
from evaluation.scoring import expected_calibration_error, group_resamples, with_interval
from evaluation.thresholds import LevelAnswers, accepted, answers, fit_thresholds
from inference.readers.find import find_images

RESULTS = Path(__file__).resolve().parents[1] / "results"
TARGETS = (0.95, 0.98, 0.99)
MAIN_TARGET = 0.99
DOTS_PER_INCH = 110
MAX_OTHERS = 300


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
    args = parser.parse_args(argv)
    try:
        classifier = load_calibrated(args.model)
        validation = run_split(classifier, args.dataset, "validation")
        test = run_split(classifier, args.dataset, args.split)
        others = {folder.name: unknown_scores(classifier, folder) for folder in args.others}
        fingerprint = dataset_fingerprint(args.dataset)
    except (ModelError, ValueError) as error:
        parser.error(str(error))
    levels = {target: judge(classifier, validation, test, target) for target in TARGETS}
    weights = group_resamples(test.groups, test.truth)
    shares = [share(level, target, *levels[target][level], weights) for target in TARGETS for level in levels[target]]
    command = shlex.join(["python", "evaluation/automation.py", *(sys.argv[1:] if argv is None else argv)])
    text = [
        *heading(classifier, args, fingerprint, len(test.truth), command),
        *overall(shares),
        *trust(classifier, test, others),
        *by_category(levels[MAIN_TARGET], test, classifier),
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "automation.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    draw(shares, args.output / "automation.png")
    print("\n".join(overall(shares)))
    print(f"written to {args.output / 'automation.md'} and .png in {time.perf_counter() - start:.0f} s")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluation/automation.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder that calibrate.py has seen")
    parser.add_argument("--dataset", required=True, help="prepared dataset with a validation and a test split")
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
    """(images,) scores of the readable images in a folder. Raises ValueError where there are none."""
    sources = [source for _, source in find_images([str(folder)], Counter())][:MAX_OTHERS]
    try:
        predictions = classifier.predict(sources, top_k=1)
    except ImageError as error:
        raise ValueError(f"--others {folder}: {error}") from error
    scores = [one.unknown_score for one in predictions if one.unknown_score is not None]
    if not scores:
        raise ValueError(f"--others {folder} holds no readable images")
    return np.array(scores)


def judge(
    classifier: Classifier, validation: SplitOutputs, test: SplitOutputs, target: float
) -> dict[str, tuple[LevelAnswers, np.ndarray]]:
    """For each level the answers on test and which are published: those above the thresholds and not unknown."""
    fitted = fit_thresholds(classifier.taxonomy, classifier.probabilities(validation.logits), validation.truth, target)
    probabilities = classifier.probabilities(test.logits)
    known = ~is_unknown(classifier, test)
    judged = {}
    for depth, level in enumerate(classifier.taxonomy.levels):
        found = answers(classifier.taxonomy, probabilities, test.truth, depth)
        judged[level] = (found, accepted(found, fitted[level]) & known)
    return judged


def is_unknown(classifier: Classifier, split: SplitOutputs) -> np.ndarray:
    detector = classifier.calibration.unknown
    if detector is None:
        return np.zeros(len(split.truth), dtype=bool)
    return detector.scores(split.logits, split.embeddings) >= detector.threshold


def share(level: str, target: float, found: LevelAnswers, published: np.ndarray, weights: np.ndarray) -> Share:
    """weights: how often each row occurs in each bootstrap sample, as in validate.py."""
    total, passed = weights.sum(axis=1), weights @ published.astype(np.float32)
    right = weights @ (published & found.right).astype(np.float32)
    precision = np.divide(right, passed, out=np.full_like(right, np.nan), where=passed > 0)
    return Share(level, target, with_interval(passed / total), with_interval(precision))


def heading(classifier: Classifier, args: argparse.Namespace, fingerprint: str, rows: int, command: str) -> list[str]:
    return [
        "# What can be published unseen",
        "",
        f"Model `{classifier.name}` ({classifier.precision}) on {Path(args.dataset).name}, {args.split} split: {rows:,}"
        f" images, data {fingerprint}, {datetime.now(UTC).date().isoformat()}. Thresholds come from the validation "
        "split. Ranges are 95% intervals: bootstrap over products, by category Wilson's.",
        "",
        f"    {command}",
        "",
    ]


def overall(shares: list[Share]) -> list[str]:
    lines = ["| level | promised precision | measured precision | published |", "|---|---|---|---|"]
    for one in shares:
        lines.append(
            f"| {one.level} | {one.target:.0%} | {with_range(one.precision)} | **{with_range(one.published)}** |"
        )
    return [*lines, ""]


def with_range(figure: dict) -> str:
    if figure["value"] is None:
        return "–"
    low, high = figure["interval"]
    return f"{figure['value']:.1%} ({100 * low:.1f}–{100 * high:.1f})"


def trust(classifier: Classifier, test: SplitOutputs, others: dict[str, np.ndarray]) -> list[str]:
    """Calibration error, prediction sets and the detection of unknown things."""
    probabilities = classifier.probabilities(test.logits)
    error = expected_calibration_error(probabilities, test.truth)
    lines = [f"Expected calibration error: {error:.3f}."]
    calibration = classifier.calibration
    if calibration.prediction_set_quantile is not None:
        sets = [calibration.prediction_set(row) for row in probabilities]
        inside = np.mean([label in found for label, found in zip(test.truth, sets, strict=True)])
        size = np.mean([len(found) for found in sets])
        wanted = calibration.content["conformal"]["coverage"]
        lines.append(
            f"Prediction sets hold the true label of {inside:.1%} (wanted {wanted:.0%}), {size:.1f} labels each."
        )
    if calibration.unknown is None:
        return [*lines, ""]
    known = calibration.unknown.scores(test.logits, test.embeddings)
    threshold = calibration.unknown.threshold
    lines.append(f"Called unknown: {(known >= threshold).mean():.1%} of the products.")
    for name, scores in others.items():
        area = roc_auc_score(np.repeat([0, 1], [len(known), len(scores)]), np.concatenate([known, scores]))
        found = f"{(scores >= threshold).mean():.0%} of {len(scores)} called unknown"
        lines.append(f"Images in `{name}`: AUROC {area:.3f} against the products, {found}.")
    return ["\n".join(f"- {line}" for line in lines), ""]


def by_category(judged: dict[str, tuple[LevelAnswers, np.ndarray]], test: SplitOutputs, classifier: Classifier) -> list:
    """A table for each level above the broadest, the largest categories first."""
    lines = []
    for depth, (level, (found, published)) in enumerate(judged.items()):
        if depth == 0 and len(judged) > 1:
            continue
        true = np.array([classifier.taxonomy.paths[label][depth] for label in test.truth])
        lines += [f"## By {level}, at {MAIN_TARGET:.0%}", ""]
        lines += ["| category | images | published | answers published | right among them |", "|---|---|---|---|---|"]
        for name, count in Counter(true.tolist()).most_common():
            mine, answered = true == name, published & (found.category == name)
            right = proportion(int((answered & found.right).sum()), int(answered.sum()))
            passed = proportion(int((mine & published).sum()), count)
            lines.append(f"| {name} | {count} | {passed} | {int(answered.sum())} | {right} |")
        lines.append("")
    return lines


def proportion(hits: int, count: int) -> str:
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.0%} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def draw(shares: list[Share], path: Path) -> None:
    """Published share and measured precision for each level and promise."""
    import matplotlib  # a second to load

    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    levels = list(dict.fromkeys(one.level for one in shares))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    width = 0.8 / len(TARGETS)
    for number, target in enumerate(TARGETS):
        mine = [one for one in shares if one.target == target]
        places = np.arange(len(levels)) + (number - (len(TARGETS) - 1) / 2) * width
        values = [one.published["value"] for one in mine]
        bars = left.bar(places, values, width * 0.9, label=f"{target:.0%} promised")
        left.bar_label(bars, [f"{value:.0%}" for value in values], fontsize=8)
        precision = np.array([np.nan if one.precision["value"] is None else one.precision["value"] for one in mine])
        ends = np.array([[np.nan if end is None else end for end in one.precision["interval"]] for one in mine]).T
        color = bars.patches[0].get_facecolor()
        right.errorbar(places, precision, np.abs(ends - precision), fmt="o", color=color, capsize=3)
        right.hlines([target] * len(levels), places - width / 2, places + width / 2, color=color, linestyle="--")
    for axes, title in ((left, "published unseen"), (right, "measured precision (dashes: promised)")):
        axes.set_xticks(range(len(levels)), levels)
        axes.set_title(title)
        axes.yaxis.set_major_formatter("{x:.0%}")
    left.set(ylim=(0, 1.2), yticks=np.linspace(0, 1, 6))  # room for the legend, but no share above 100%
    left.legend(fontsize=8, loc="upper center", ncols=len(TARGETS))
    figure.tight_layout()
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)


if __name__ == "__main__":
    main()
