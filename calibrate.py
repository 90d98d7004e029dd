"""Measure on held-out images how far a model can be trusted, and store it beside the model as calibration.json.

    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion          # 1 minute: temperature 1.117
    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion --dataset data/clothing \\
        --label_map evaluation/label_maps/clothing.json --others runs/others/fit/*
    python calibrate.py --model runs/slash8 --dataset data/slash --oof runs/slash8/oof.parquet

On the validation split of each dataset, one for each kind of image that the model serves: a temperature that makes
confidences true (Guo et al. 2017), the floor that smoothed labels leave under them, for each category the confidence at
which answers reach the target precision, a detector of unknown things, and with --coverage the quantile for sets of
labels that hold the true one that often (Romano et al. 2020). predict.py, the app and validate.py then use it. It
prints what can be published at which promise.
For a dataset too small to hold a split back, --oof takes out-of-fold answers (train.py --folds) instead.
"""

import argparse
from pathlib import Path

from app.calibration import CALIBRATION_FILE
from app.classifier import Classifier
from app.errors import OneLineParser, UserError, add_version, one_line_errors
from app.probabilities import Softmax
from app.taxonomy import Taxonomy
from evaluation.calibrated_folder import Promise, calibrate_folder
from evaluation.calibration import FEW_ROWS, HeldOut, fitted_softmax, rows_for_coverage
from evaluation.kinds import read_label_map
from evaluation.provenance import command_line
from evaluation.publishable import least_budget, publishable, publishable_table, suggestion
from evaluation.scoring import expected_calibration_error


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        check_options(options)
        classifier = Classifier.load(options.model, precision="fp32", calibrated=False)
        promise = Promise(options.target_precision, options.coverage, options.others, read_label_map(options.label_map))
        command = command_line("calibrate.py", argv)
        content, held_out = calibrate_folder(classifier, options.dataset, options.model, command, promise, options.oof)
    floor = f", a floor of {sum(content['floor']):.3f} over all labels" if content["floor"] else ""
    print(f"{options.model / CALIBRATION_FILE}: temperature {content['temperature']:.3f}{floor}")
    print("\n".join(report(content, held_out, options.coverage)))
    print("\n".join(what_to_publish(classifier.taxonomy, held_out, options.error_budget)))


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="calibrate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument(
        "--dataset", required=True, action="append", help="prepared dataset; give it again for each kind of image"
    )
    parser.add_argument(
        "--label_map", type=Path, metavar="FILE", help="JSON that says what classes of other names mean to the model"
    )
    parser.add_argument(
        "--others", type=Path, nargs="+", default=[], metavar="DIR", help="images of things to be called unknown"
    )
    parser.add_argument(
        "--target_precision", type=float, default=0.99, help="share of ok answers to be right (default: %(default)s)"
    )
    parser.add_argument(
        "--error_budget", type=float, default=0.01,
        help="share of all products, published or not, that may appear with a wrong category: 0.01 is 100 of 10,000; "
        "only for the target that is suggested (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--oof", type=Path, metavar="FILE", help="oof.parquet of train.py --folds, of the same recipe")
    parser.add_argument("--coverage", type=float, help="also fit sets of labels that hold the true one this often")
    add_version(parser)
    return parser


def check_options(options: argparse.Namespace) -> None:
    for option in ("target_precision", "coverage"):
        value = getattr(options, option)
        if value is not None and not 0.5 <= value < 1:
            raise UserError(f"--{option} {value} must be at least 0.5 and below 1, such as 0.99")
    if not 0 < options.error_budget < 0.5:
        raise UserError(f"--error_budget {options.error_budget} must be above 0 and below 0.5, such as 0.01")
    if options.oof and (len(options.dataset) > 1 or options.others):
        raise UserError("--oof goes with one --dataset and no --others: it holds answers about that one only")


def report(content: dict, held_out: HeldOut, coverage: float | None) -> list[str]:
    lines = []
    for name, images in held_out.kinds.items():
        if images.members is None:
            before, after = (
                expected_calibration_error(softmax(images.logits), images.truth)
                for softmax in (Softmax(), fitted_softmax(content))
            )
            error = f"expected calibration error {before:.3f} -> {after:.3f} on these"
            lines.append(f"  {name}: {error} {len(images.truth)} images")
    for level, thresholds in content["thresholds"].items():
        never = sum(value is None for value in thresholds.values())
        low, high = ("none" if end is None else f"{end:.3f}" for end in content["threshold_intervals"][level])
        interval = f"one threshold for all would lie at {low} to {high} (90%)"
        lines.append(f"  {level}: {len(thresholds)} thresholds, {never} categories are never sure enough; {interval}")
    unknown = content["unknown"]
    if "called_unknown" in unknown:
        shares = ", ".join(
            f"{name} {share:.1%}" for name, share in unknown["called_unknown"].items() if name != "auroc"
        )
        lines.append(f"  unknown: {unknown['method']}; called unknown among images that it did not learn: {shares}")
    else:
        lines.append(f"  unknown: {unknown['method']}, AUROC {unknown['held_out_auroc']} on held-out labels")
    return [*lines, *warnings(held_out, coverage)]


def warnings(held_out: HeldOut, coverage: float | None) -> list[str]:
    """What little data keeps from being known, and what would help."""
    rows, lines = len(held_out.pooled()[1]), []
    if rows < FEW_ROWS:
        lines.append(
            f"  warning: {rows} images are few: the temperature does not sharpen, and high promises cannot be proven; "
            f"from {FEW_ROWS} held-out images on they can, or give out-of-fold answers with --oof"
        )
    for name, images in held_out.kinds.items():
        if rows >= FEW_ROWS > len(images.truth):
            lines.append(f"  warning: {len(images.truth)} images of {name} are few: they can only raise thresholds")
    if coverage is not None and rows < rows_for_coverage(coverage):
        lines.append(
            f"  warning: --coverage {coverage} takes {rows_for_coverage(coverage)} images, and these are {rows}: the "
            "sets hold all labels"
        )
    return lines


def what_to_publish(taxonomy: Taxonomy, held_out: HeldOut, error_budget: float) -> list[str]:
    """The table of promises, and for each level the target that publishes most within the budget."""
    rows = publishable(taxonomy, held_out)
    if not rows:
        return ["  what can be published is not known: two images at least, of different groups, are needed"]
    lines = ["", "What can be published, by cross-fitting on these images, before unknown ones are taken out:", ""]
    lines += [*publishable_table(rows), ""]
    for level in taxonomy.levels:
        target, least = suggestion(rows, level, error_budget), least_budget(rows, level)
        advice = (
            "nothing can be published" if least is None else f"none of these does; it takes --error_budget {least:g}"
        )
        advice = f"--target_precision {target:g} publishes most" if target else advice
        lines.append(f"{level}: if at most {error_budget:.1%} of all products may be published wrong, {advice}")
    return lines


if __name__ == "__main__":
    main()
