"""The page on attributes: how right they are on the test split, and that the category's answers did not change.

    python -m evaluation.attributes --model app/models/fashion --dataset data/kaggle_fashion

Writes results/attributes.md: for each attribute accuracy and macro-F1 with intervals beside what a public model states,
top-2, calibration error, what may be published at three promises if the thresholds are set on the validation split,
which labels are taken for each other; and the hash of all answers about the category with and without attributes.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from app.attributes import CURE, WEIGHTS_FILE, Attributes
from app.classifier import BATCH_SIZE, Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import write_text
from app.model_files import PRECISIONS, ModelError
from app.parents import ATTRIBUTES_FILE
from app.prediction import ATTRIBUTES
from data_prep.pipeline.card import dataset_fingerprint, table
from evaluation.attribute_scores import (
    AttributeAnswers,
    Coverage,
    answers_of,
    confusions,
    coverage,
    log_probabilities,
    score_attribute,
)
from evaluation.leaderboard import percent
from evaluation.predictions import encoded, load_split
from evaluation.provenance import command_line, machine
from evaluation.publishable import with_interval
from evaluation.runs import RESULTS

FITTED_ON, JUDGED = "validation", "test"
TARGETS = (0.95, 0.98, 0.99)
# What a public ResNet-50 for these columns of the same data states, in percent, on a random split.
PUBLIC = {"baseColour": 63, "season": 65, "usage": 87}
TIMED_IMAGES, TIMED_RUNS = 400, 5


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a model says of a split. probabilities: of all attributes, (rows, labels). digests: SHA-256 of the answers
    about the category with attributes and without."""

    rows: Dataset
    probabilities: np.ndarray
    digests: tuple[str, str]


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        classifier, plain = open_both(options.model, options.precision)
        splits = {name: run(classifier, plain, options.dataset, name) for name in (FITTED_ON, JUDGED)}
        page = results_page(
            classifier, splits, options.dataset, options.seed, command_line("-m evaluation.attributes", argv)
        )
        path = options.output / "attributes.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    print(f"written to {path}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.attributes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with attributes.json")
    parser.add_argument("--dataset", required=True, type=Path, help="prepared dataset that the model learned from")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="as predict.py (default: auto)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder (default: results/)")
    parser.add_argument("--seed", type=int, default=42, help="of the bootstrap intervals (default: 42)")
    return parser


def open_both(folder: Path, precision: str) -> tuple[Classifier, Classifier]:
    """The model as it answers, and the same as if the folder had no attributes. Raises ModelError."""
    classifier, plain = (Classifier.load(folder, precision=precision) for _ in range(2))
    if classifier.attributes is None:
        raise ModelError(f"{folder} has no attributes of its own: {CURE}")
    plain.attributes = None
    return classifier, plain


def run(classifier: Classifier, plain: Classifier, dataset: Path, name: str) -> Split:
    """Raises UserError for a split that lacks an attribute's column."""
    rows, _ = load_split(classifier, dataset, name)
    attributes = required_attributes(classifier)
    if missing := [column for column in attributes.heads if column not in rows.features]:
        raise UserError(f"{dataset} has no column {', '.join(missing)}; give the dataset that the attributes learned")
    probabilities, digest = category_digest(classifier, rows, f"{name} with attributes")
    _, plain_digest = category_digest(plain, rows, f"{name} without")
    return Split(rows, probabilities, (digest, plain_digest))


def required_attributes(classifier: Classifier) -> Attributes:
    assert classifier.attributes is not None  # open_both has looked
    return classifier.attributes


def category_digest(classifier: Classifier, rows: Dataset, name: str) -> tuple[np.ndarray, str]:
    """The attributes' probabilities, and the hash of the JSON of everything else that predict.py would write."""
    digest, probabilities = hashlib.sha256(), []
    stream = classifier.stream_scores(encoded(rows, np.arange(len(rows))))
    for scores in tqdm(stream, desc=name, total=len(rows), unit=" images", disable=None):
        answer = classifier.prediction(scores).to_dict(digits=17)
        answer.pop(ATTRIBUTES, None)
        digest.update(json.dumps(answer).encode() + b"\n")
        probabilities.append(np.empty(0) if scores.attributes is None else scores.attributes)
    return np.stack(probabilities), digest.hexdigest()


def milliseconds(classifier: Classifier, rows: Dataset) -> float:
    """What attributes add to a product, in time of one core: the least of several runs over some images."""
    attributes = required_attributes(classifier)
    images = encoded(rows, np.arange(min(TIMED_IMAGES, len(rows))))
    pixels = np.stack([classifier.read(image) for image in images])
    embeddings = np.concatenate([classifier.run(batch, ["embeddings"])[0] for batch in batches(pixels)])
    least = np.inf
    for _ in range(TIMED_RUNS):
        start = time.process_time()
        for read, embedded in zip(batches(pixels), batches(embeddings), strict=True):
            for row in attributes.probabilities(embedded, classifier.colors(read)):
                attributes.answers(row, "ok")
        least = min(least, time.process_time() - start)
    return 1000 * least / len(pixels)


def batches(values: np.ndarray) -> list[np.ndarray]:
    """As the classifier takes them."""
    return [values[first : first + BATCH_SIZE] for first in range(0, len(values), BATCH_SIZE)]


def results_page(classifier: Classifier, splits: Mapping[str, Split], dataset: Path, seed: int, command: str) -> str:
    attributes = required_attributes(classifier)
    answers = {
        name: answers_of(attributes, log_probabilities(split.probabilities), split.rows)
        for name, split in splits.items()
    }
    files = [classifier.folder / name for name in (ATTRIBUTES_FILE, WEIGHTS_FILE)]
    size = sum(path.stat().st_size for path in files) / 1e6
    added = milliseconds(classifier, splits[FITTED_ON].rows)
    return "\n".join(
        [
            "# Attributes beside the category",
            "",
            f"`{command}`, {datetime.now(UTC).date().isoformat()}, {machine()}; `{classifier.name}` in "
            f"{classifier.precision}, data {dataset_fingerprint(dataset)}, intervals 95% by bootstrap over "
            f"products (seed {seed}). Learned by `{attributes.content['command']}`.",
            "",
            f"One hidden layer of {attributes.content['hidden']} units reads the embedding of the category's network "
            f"and the colors of the image. {size:.2f} MB; {added:.3f} ms of one core per product.",
            "",
            *score_tables(answers, seed),
            *coverage_table(answers),
            *confusion_lines(answers[JUDGED]),
            *proof(splits),
        ]
    )


def score_tables(answers: Mapping[str, Mapping[str, AttributeAnswers]], seed: int) -> list[str]:
    """The answers come calibrated, so that their temperature is 1."""
    lines = []
    for split in (JUDGED, FITTED_ON):
        rows = []
        for name, of_name in answers[split].items():
            scores = score_attribute(of_name, 1.0, seed)
            stated = f"{PUBLIC[name]}" if name in PUBLIC and split == JUDGED else "–"
            rows.append(
                [name, len(of_name.labels), percent(scores["accuracy"]), stated, percent(scores["macro_f1"])]
                + [f"{100 * scores['top2']:.1f}", f"{scores['expected_calibration_error']:.3f}", scores["images"]]
            )
        header = [
            "attribute",
            "labels",
            "accuracy",
            "public ResNet-50",
            "macro-F1",
            "top-2",
            "calibration error",
            "images",
        ]
        lines += [f"## On the {split} split", "", *table(header, rows), ""]
    return [
        *lines,
        "The public figures are those that its author states, on a split that need not keep copies of a product apart.",
        f"The {FITTED_ON} split set temperatures and thresholds; the {JUDGED} split set nothing.",
        "",
    ]


def coverage_table(answers: Mapping[str, Mapping[str, AttributeAnswers]]) -> list[str]:
    rows = [
        [name, f"{line.target:.0%}", *shares(line)]
        for name, judged in answers[JUDGED].items()
        for line in coverage(answers[FITTED_ON][name], judged, TARGETS)
    ]
    header = ["attribute", "promise", "published", "right among them"]
    return [f"## What may be published, on the {JUDGED} split", "", *table(header, rows), ""]


def shares(line: Coverage) -> Sequence[str]:
    return with_interval(line.published, line.rows), with_interval(line.right, line.published)


def confusion_lines(answers: Mapping[str, AttributeAnswers]) -> list[str]:
    lines = ["## What is taken for what", ""]
    for name, of_name in answers.items():
        pairs = ", ".join(f"{first} and {second} {count}" for first, second, count in confusions(of_name))
        lines.append(f"- {name}: {pairs or 'nothing'}.")
    return [*lines, ""]


def proof(splits: Mapping[str, Split]) -> list[str]:
    rows = []
    for name, split in splits.items():
        same = "the same" if split.digests[0] == split.digests[1] else "**different**"
        rows.append([name, len(split.rows), *(f"`{digest[:16]}`" for digest in split.digests), same])
    header = ["split", "images", "with attributes", "without", "answers"]
    return [
        "## The category's answers did not change",
        "",
        "SHA-256 of everything that predict.py says of each image but its attributes, every digit:",
        "",
        *table(header, rows),
        "",
    ]


if __name__ == "__main__":
    main()
