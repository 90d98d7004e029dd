"""What titles add: the image alone, the title alone and both, on held-out products; results/titles.md.

    python -m evaluation.titles --model app/models/fashion --dataset data/kaggle_fashion --title_column title \\
        --photos data/clothing --label_map evaluation/label_maps/clothing.json
    python -m evaluation.titles ... --splits validation                       # without a look at test

On the validation split everything that is fitted is cross-fitted; on test it comes from all of validation. --photos are
people's images of ten classes with titles drawn in the words of other shops (evaluation/drawn_titles.py), from which
nothing is fitted.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import write_text
from app.probabilities import Softmax
from app.titled import BOTH, TITLE, TITLES_FILE
from app.titles import Titles
from data_prep.pipeline.card import dataset_fingerprint
from evaluation.drawn_titles import DRAWN, SPOILED, drawn, spoiled
from evaluation.kinds import read_kinds, read_label_map
from evaluation.predictions import load_split, read_titles
from evaluation.provenance import command_line, machine
from evaluation.runs import RESULTS
from evaluation.scoring import score
from evaluation.title_join import TitledOutputs, titled_outputs, with_titles, wrong_titles
from evaluation.titled_answers import SOURCES, Answered, Fitted, apply, cross_fitted, fit

TARGETS = (0.95, 0.98, 0.99)
MAIN_TARGET = 0.99
RARE = ((1, 9), (10, 29), (30, 99), (100, None))  # training products of a label
SPLITS = ("validation", "test")
TIMED = 2000  # titles


def main(argv: list[str] | None = None) -> None:
    start = time.perf_counter()
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        report = Report(options.model, options.dataset, options.title_column, options.splits)
        text = report.heading(command_line("-m evaluation.titles", argv))
        for split in options.splits:
            text += report.split_section(split)
        text += report.odd_titles()
        if options.photos:
            text += report.photos_section(options.photos, read_label_map(options.label_map))
        options.output.mkdir(parents=True, exist_ok=True)
        write_text(options.output / "titles.md", "\n".join(text))
    print("\n".join(text))
    print(f"written to {options.output / 'titles.md'} in {time.perf_counter() - start:.0f} s")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.titles", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with titles.onnx")
    parser.add_argument("--dataset", required=True, type=Path, help="prepared dataset that it learned from")
    parser.add_argument("--title_column", required=True, metavar="NAME", help="its column with the titles")
    parser.add_argument("--photos", type=Path, metavar="DATASET", help="images of other people, with drawn titles")
    parser.add_argument("--label_map", type=Path, metavar="FILE", help="what the classes of --photos mean to the model")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: both")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder (default: results/)")
    return parser


class Report:
    """The parts of the page, and what they share."""

    def __init__(self, model: Path, dataset: Path, title_column: str, splits: Sequence[str]) -> None:
        """Raises UserError."""
        self.model, self.dataset, self.title_column, self.splits = model, dataset, title_column, splits
        self.classifier = Classifier.load(model)
        self.titles: Titles = self.classifier.required_titles()
        calibration = self.classifier.calibration
        self.scale = calibration.softmax if calibration else Softmax()
        self.detector = calibration.unknown if calibration else None
        _, truth = load_split(self.classifier, dataset, "train")
        self.learned = np.bincount(truth, minlength=len(self.classifier.labels))
        self.validation = self.products("validation")
        self.fitted = fit(self.classifier.taxonomy, self.validation, self.scale, TARGETS)

    def products(self, split: str) -> TitledOutputs:
        return titled_outputs(self.classifier, self.titles.session, self.dataset, split, self.title_column)

    def answered(self, products: TitledOutputs, fitted: Fitted | None = None) -> dict[str, Answered]:
        taxonomy = self.classifier.taxonomy
        return apply(taxonomy, self.detector, products, self.scale, fitted or self.fitted)

    def heading(self, command: str) -> list[str]:
        megabytes = (self.model / TITLES_FILE).stat().st_size / 1e6
        settings = self.fitted.settings
        return [
            "# Titles beside the image",
            "",
            f"Model `{self.classifier.name}` ({self.classifier.precision}), {datetime.now(UTC).date().isoformat()}, "
            f"data {dataset_fingerprint(self.dataset)}, {machine()}. `titles.onnx`: {megabytes:.1f} MB, "
            f"{self.milliseconds():.2f} ms of one core per product. Ranges "
            f"are 95% intervals by bootstrap over products (seed 42).",
            "",
            f"    {command}",
            "",
            f"The joint answer weighs the logarithm of the image's probabilities {settings.image_weight:.2f} and the "
            f"title's logits {settings.title_weight:.2f}; both were fitted on the validation split.",
            "",
            "- Published is what predict.py would publish: a title that contradicts its image sends the product to "
            "review, and an image that looks like nothing known needs a title that is certain by itself.",
            "- Any level: the deepest category that is certain enough; right means that this category is.",
            "- On validation all that is fitted is cross-fitted (5 folds); elsewhere it comes from all of validation.",
            "",
        ]

    def milliseconds(self) -> float:
        """Of one core per title, from the text to the joint answer: the best of three passes."""
        rows, _ = load_split(self.classifier, self.dataset, "validation")
        texts = read_titles(rows, self.dataset, self.title_column)[:TIMED]
        of_image = np.full(len(self.classifier.labels), 1 / len(self.classifier.labels))
        seconds = []
        for _ in range(3):
            start = time.thread_time()
            for text in texts:
                self.titles.join(of_image, self.scale.temperature, text)
            seconds.append(time.thread_time() - start)
        return 1000 * min(seconds) / len(texts)

    def split_section(self, split: str) -> list[str]:
        if split == "validation":
            products, taxonomy = self.validation, self.classifier.taxonomy
            answered = cross_fitted(taxonomy, self.detector, products, self.scale, TARGETS)
        else:
            products = self.products(split)
            answered = self.answered(products)
        return [
            f"## {split}: {len(products.known):,} products",
            "",
            *self.scores_table(products, answered),
            *published_table(products, answered, self.classifier.taxonomy.levels),
            *self.rare_table(products, answered),
            *self.contradictions(products),
        ]

    def scores_table(self, products: TitledOutputs, answered: Mapping[str, Answered]) -> list[str]:
        lines = ["| answer from | accuracy | macro-F1 | top-5 | calibration error |", "|---|---|---|---|---|"]
        for source in SOURCES:
            images = products.image
            scores = score(answered[source].probabilities, images.truth, images.groups, self.classifier.labels)
            cells = [with_range(scores[name]) for name in ("accuracy", "macro_f1", "top5")]
            lines.append(f"| {source} | {' | '.join(cells)} | {scores['expected_calibration_error']:.3f} |")
        return [*lines, ""]

    def rare_table(self, products: TitledOutputs, answered: Mapping[str, Answered]) -> list[str]:
        lines = ["| training products of the label | products | image | title | both |", "|---|---|---|---|---|"]
        truth = products.image.truth
        for least, most in RARE:
            chosen = (self.learned[truth] >= least) & (self.learned[truth] <= (most or np.inf))
            hits = [(answered[source].probabilities.argmax(axis=1) == truth)[chosen] for source in SOURCES]
            cells = " | ".join(share(int(row.sum()), len(row)) for row in hits)
            lines.append(f"| {least}{f' to {most}' if most else ' or more'} | {int(chosen.sum())} | {cells} |")
        return [*lines, ""]

    def contradictions(self, products: TitledOutputs) -> list[str]:
        """Each product with the title of another one."""
        taxonomy, truth = self.classifier.taxonomy, products.image.truth
        lines = ["| title of a product of | goes to review | published right | published wrong |", "|---|---|---|---|"]
        for name, within in ((f"another {taxonomy.levels[0]}", False), (f"the same {taxonomy.levels[0]}", True)):
            wrong = wrong_titles(taxonomy, truth, within)
            chosen = np.flatnonzero(wrong >= 0)
            titles = wrong[chosen]
            swapped = TitledOutputs(products.image.rows(chosen), products.title_logits[titles], products.known[titles])
            published = self.answered(swapped)[BOTH].published[MAIN_TARGET]
            counts = (published.depth < 0, (published.depth >= 0) & published.right)
            counts = (*counts, (published.depth >= 0) & ~published.right)
            lines.append(f"| {name} | {' | '.join(share(int(row.sum()), len(chosen)) for row in counts)} |")
        return [*lines, ""]

    def odd_titles(self) -> list[str]:
        """The validation products with spoiled titles, of which nothing was fitted."""
        rows, _ = load_split(self.classifier, self.dataset, "validation")
        texts = read_titles(rows, self.dataset, self.title_column)
        lines = ["## Odd titles", "", "The validation products again, their titles changed:", ""]
        lines += [
            "| titles | title alone | both | published at 99%, any level | right among them |",
            "|---|---|---|---|---|",
        ]
        for how in ("as they are", "none", *SPOILED):
            changed = texts if how == "as they are" else [""] * len(texts) if how == "none" else spoiled(texts, how)
            products = with_titles(self.validation.image, self.titles.session, changed)
            lines.append(f"| {how} | {' | '.join(short_row(products, self.answered(products)))} |")
        return [*lines, ""]

    def photos_section(self, dataset: Path, label_map) -> list[str]:
        """People's photos with drawn titles. Raises UserError for classes that no titles are drawn for."""
        lines = [f"## People's photos (`{dataset.name}`) with drawn titles", ""]
        for split in self.splits:
            (images,) = read_kinds(self.classifier, [str(dataset)], split, label_map).values()
            names = class_names(dataset, split)
            lines += [f"{split}, {len(names)} photos, nothing fitted on them:", ""]
            lines += [
                "| titles | title alone | both | published at 99%, any level | right among them |",
                "|---|---|---|---|---|",
            ]
            for how in ("none", *DRAWN):
                texts = [""] * len(names) if how == "none" else drawn(names, how)
                products = with_titles(images, self.titles.session, texts)
                lines.append(f"| {how} | {' | '.join(short_row(products, self.answered(products)))} |")
            lines.append("")
        return lines


def class_names(dataset: Path, split: str) -> list[str]:
    from data_prep.pipeline.prepared import load_prepared
    from evaluation.drawn_titles import USUAL

    rows = load_prepared(str(dataset), "label", [split])[split]
    names = rows.features["label"].int2str(rows["label"])
    if unknown := sorted(set(names) - set(USUAL)):
        raise UserError(f"--photos {dataset}: no titles are drawn for {', '.join(unknown[:5])}")
    return names


def short_row(products: TitledOutputs, answered: Mapping[str, Answered]) -> list[str]:
    right = products.image.right()
    rows = np.arange(len(right))
    alone, both = (right[rows, answered[source].probabilities.argmax(axis=1)] for source in (TITLE, BOTH))
    published = answered[BOTH].published[MAIN_TARGET]
    is_published, said = published.depth >= 0, products.known > 0
    return [
        share(int(alone[said].sum()), int(said.sum())),
        share(int(both.sum()), len(both)),
        share(int(is_published.sum()), len(both)),
        share(int(published.right[is_published].sum()), int(is_published.sum())),
    ]


def published_table(products: TitledOutputs, answered: Mapping[str, Answered], levels: list[str]) -> list[str]:
    """At the finest level, and at the deepest that is certain enough, whichever that is."""
    lines = [f"| answer from | promised precision | {levels[-1]} published | right | any level published | right |"]
    lines += ["|---|---|---|---|---|---|"]
    rows = len(products.known)
    for source in SOURCES:
        for target in TARGETS:
            published = answered[source].published[target]
            cells = []
            for least in (len(levels) - 1, 0):
                passed = published.depth >= least
                cells += [share(int(passed.sum()), rows), share(int(published.right[passed].sum()), int(passed.sum()))]
            lines.append(f"| {source} | {target:.0%} | {' | '.join(cells)} |")
    return [*lines, ""]


def with_range(value: Mapping) -> str:
    low, high = value["interval"]
    return f"{100 * value['value']:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def share(hits: int, count: int) -> str:
    """With Wilson's 95% interval."""
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.1%} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


if __name__ == "__main__":
    main()
