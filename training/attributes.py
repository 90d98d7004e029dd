"""Teach a model folder attributes beside its category: attributes.json and attributes.npy beside model.onnx.

    python -m training.attributes --model app/models/fashion --dataset data/kaggle_fashion \\
        --attributes gender baseColour season usage

The graph stays as it is, so no answer about the category changes. One hidden layer learns, from the train split, the
label columns that are named, from the embedding and the colors of the image (app/attributes.py); the validation split,
which it has not learned, gives each attribute a temperature and each label the confidence at which it is right as often
as --target_precision says. `train.py --attributes NAME …` does the same after a training.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from torch import nn

from app.attributes import VERSION, WEIGHTS_FILE, Attributes, AttributesError, Head, check_names
from app.calibration import model_hash
from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.files import replacing, write_json, write_section
from app.model_files import CARD_FILE, MODEL_FILE, ModelError
from app.parents import ATTRIBUTES_FILE
from data_prep.pipeline.card import dataset_fingerprint, table
from data_prep.pipeline.empty_splits import check_filled
from data_prep.pipeline.prepared import load_prepared
from evaluation.attribute_scores import AttributeInputs, answers_of, fit_head, read_inputs, score_attribute, stated
from evaluation.calibration import SPLIT
from evaluation.predictions import spread, undecoded
from evaluation.provenance import command_line
from evaluation.thresholds import accepted
from training.arguments import Arguments
from training.data import TrainingData

TARGET_PRECISION = 0.95
MAX_TRAIN_ROWS = 100_000  # spread over the split; a gigabyte of inputs
HIDDEN = 128
EPOCHS = 8
LEAST_STEPS = 300  # for little data
BATCH_SIZE = 512
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.01
DROPOUT = 0.2
LEAST_DEVIATION = 0.01  # of an input; a color that hardly ever occurs must not count a hundred times
SEED = 42
CARD_START, CARD_END = "<!-- attributes: written by training.attributes -->", "<!-- end of attributes -->"
NOT_IN_GRAPH = "the graph of {folder} has no embeddings, which attributes are read from; export.py --model writes them"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        command = command_line("-m training.attributes", argv)
        names, target = options.attributes, options.target_precision
        lines = add_attributes(options.model, options.dataset, names, target, command, options.seed)
    print("\n".join(lines))


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m training.attributes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model folder with model.onnx")
    parser.add_argument("--dataset", required=True, type=Path, help="prepared dataset that the model learned from")
    parser.add_argument("--attributes", required=True, nargs="+", metavar="NAME", help="label columns to learn")
    parser.add_argument(
        "--target_precision",
        type=float,
        default=TARGET_PRECISION,
        help="share of ok attributes to be right (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the training (default: %(default)s)")
    return parser


def add_attributes(
    folder: Path, dataset: Path, names: Sequence[str], target_precision: float, command: str, seed: int = SEED
) -> list[str]:
    """Write both files and the card's section; returns what to tell the user. Raises UserError."""
    if not 0.5 <= target_precision < 1:
        raise UserError(f"--target_precision {target_precision} must be at least 0.5 and below 1, such as 0.95")
    classifier = Classifier.load(folder, calibrated=False)
    if "embeddings" not in classifier.outputs:
        raise ModelError(NOT_IN_GRAPH.format(folder=folder))
    train, validation = open_splits(dataset, names, classifier.taxonomy.levels)
    inputs = read_inputs(classifier, train, f"{dataset.resolve().name} train")
    labels = {name: sorted(set(stated(train, name)) - {""}) for name in names}
    layers = fit_layers(inputs, [label_ids(train, name, labels[name]) for name in names], seed)
    unfitted = Attributes({name: Head(labels[name], 1.0, {}) for name in names}, *map(rounded, layers))
    content = {
        "version": VERSION,
        "model_sha256": model_hash(folder / MODEL_FILE),
        "embedding_size": inputs.embeddings.shape[1],
        "hidden": layers[0].shape[1],
        "target_precision": target_precision,
        "attributes": calibrated(unfitted, classifier, validation, target_precision, dataset.resolve().name),
        "precision": classifier.precision,
        "train_rows": len(train),
        "rows": len(validation),
        "dataset": dataset.resolve().name,
        "fingerprint": dataset_fingerprint(dataset),
        "split": SPLIT,
        "seed": seed,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_attributes(folder, content, layers)
    return report(folder, content)


def open_splits(dataset: Path, names: Sequence[str], levels: Sequence[str]) -> tuple[Dataset, Dataset]:
    """The rows to learn from and the held-out ones, undecoded. Raises UserError for columns that are not attributes."""
    check_attributes(dataset, names, levels)
    splits = load_prepared(str(dataset), names[0], ["train", SPLIT])
    check_filled(dataset, {name: splits[name] for name in ("train", SPLIT)})
    train = undecoded(splits["train"])
    if len(train) > MAX_TRAIN_ROWS:
        train = train.select(spread(len(train), MAX_TRAIN_ROWS))
    return train, undecoded(splits[SPLIT])


def check_attributes(dataset: Path, names: Sequence[str], levels: Sequence[str]) -> None:
    """Raises UserError before any work. levels: what the model's category already says."""
    try:
        check_names(names)
    except AttributesError as error:
        raise UserError(f"--attributes: {error}") from None
    features = load_prepared(str(dataset), "", ["train"])["train"].features
    columns = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    for name in names:
        if name in levels:
            raise UserError(f"--attributes {name}: the category of this model says it already; leave it out")
        if name not in columns:
            other = [column for column in columns if column not in levels]
            raise UserError(f"--attributes {name}: {dataset} has no such label column; it has {', '.join(other)}")
        if len(set(features[name].names)) < 2:
            raise UserError(f"--attributes {name}: it has one value in {dataset}, so there is nothing to learn")


def check_attributes_option(arguments: Arguments, data: TrainingData) -> None:
    """Raises UserError for --attributes of train.py that could not be learned after the training."""
    if not arguments.attributes:
        return
    if arguments.folds or arguments.streaming or not arguments.export_onnx:
        raise UserError(
            "--attributes reads the finished graph and a prepared dataset: leave out --folds, --streaming and "
            "--export_onnx False, or add them later with python -m training.attributes"
        )
    check_attributes(Path(arguments.dataset), arguments.attributes, data.taxonomy()["levels"])


def attributes_after_training(folder: Path, arguments: Arguments, command: str) -> list[str]:
    """What to tell the user where a training was given --attributes."""
    if not arguments.attributes:
        return []
    return add_attributes(folder, Path(arguments.dataset), arguments.attributes, TARGET_PRECISION, command)


def label_ids(rows: Dataset, name: str, labels: Sequence[str]) -> np.ndarray:
    """(rows,) where each row's label is in `labels`, -1 where it is not stated."""
    id_of = {label: number for number, label in enumerate(labels)} | {"": -1}
    return np.array([id_of[value] for value in stated(rows, name)])


def fit_layers(inputs: AttributeInputs, targets: Sequence[np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both layers with their biases as the last row, (inputs + 1, HIDDEN) and (HIDDEN + 1, labels) float32.

    targets: for each attribute (rows,) label ids, -1 where it is not stated.
    """
    generator = torch.Generator().manual_seed(seed)
    table = np.hstack([inputs.embeddings, inputs.colors])
    mean, deviation = table.mean(axis=0), np.maximum(table.std(axis=0), LEAST_DEVIATION)
    table = torch.from_numpy((table - mean) / deviation)
    ids = torch.from_numpy(np.stack(targets, axis=1))
    sizes = [int(of_head.max()) + 1 for of_head in targets]
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Dropout(DROPOUT), nn.Linear(table.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, sum(sizes)),
        )  # fmt: skip
        learn(network, table, ids, sizes, generator)
    first, second = network[1], network[4]
    weights = first.weight.detach().numpy() / deviation
    bias = first.bias.detach().numpy() - weights @ mean
    output = [second.weight.detach().numpy().T, second.bias.detach().numpy()[None]]
    return np.vstack([weights.T, bias[None]]).astype(np.float32), np.vstack(output)


@contextmanager
def one_thread() -> Iterator[None]:
    """A layer this small takes ten seconds; several threads take minutes where others use the cores too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def learn(
    network: nn.Module, table: torch.Tensor, ids: torch.Tensor, sizes: Sequence[int], generator: torch.Generator
) -> None:
    """ids: (rows, attributes)."""
    batches = -(-len(table) // BATCH_SIZE)
    epochs = max(EPOCHS, -(-LEAST_STEPS // batches))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs * batches, pct_start=0.1)
    cross_entropy = nn.CrossEntropyLoss(ignore_index=-1, reduction="sum")
    for _ in range(epochs):
        for rows in torch.randperm(len(table), generator=generator).split(BATCH_SIZE):
            logits = network(table[rows]).split(list(sizes), dim=1)
            loss = sum(cross_entropy(part, ids[rows, number]) for number, part in enumerate(logits)) / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def rounded(layer: np.ndarray) -> np.ndarray:
    """As it comes back from the file."""
    return layer.astype(np.float16).astype(np.float32)


def calibrated(
    unfitted: Attributes, classifier: Classifier, validation: Dataset, target_precision: float, name: str
) -> dict[str, dict]:
    """For each attribute what attributes.json says, with its scores on the validation split."""
    inputs = read_inputs(classifier, validation, f"{name} {SPLIT}")
    logits = unfitted.logits(inputs.embeddings, inputs.colors)
    heads = {}
    for name, held_out in answers_of(unfitted, logits, validation).items():
        temperature, thresholds = fit_head(held_out, target_precision)
        scores = score_attribute(held_out, temperature)
        heads[name] = {
            "labels": held_out.labels,
            "temperature": temperature,
            "thresholds": thresholds,
            "scores": {
                "accuracy": scores["accuracy"]["value"],
                "macro_f1": scores["macro_f1"]["value"],
                "expected_calibration_error": round(scores["expected_calibration_error"], 4),
                "published": round(float(accepted(held_out.level(temperature), thresholds).mean()), 4),
            },
        }
    return heads


def write_attributes(folder: Path, content: dict, layers: Sequence[np.ndarray]) -> None:
    """The weights first: an attributes.json without them would not load."""
    weights = np.concatenate([layer.astype(np.float16).ravel() for layer in layers])
    (folder / ATTRIBUTES_FILE).unlink(missing_ok=True)
    with replacing(folder / WEIGHTS_FILE) as partial:
        stream = io.BytesIO()
        np.save(stream, weights, allow_pickle=False)
        partial.write_bytes(stream.getvalue())
    write_json(folder / ATTRIBUTES_FILE, content)
    write_section(folder / CARD_FILE, CARD_START, CARD_END, card_section(content), f"# {folder.resolve().name}\n")


def card_section(content: dict) -> str:
    rows = [
        [name, str(len(head["labels"])), *(f"{value:.4f}" for value in head["scores"].values())]
        for name, head in content["attributes"].items()
    ]
    header = ["attribute", "labels", "accuracy", "macro-F1", "calibration error", "ok"]
    lines = [
        "## Attributes",
        "",
        f"Beside the category it says {', '.join(content['attributes'])}, from the same embedding and the colors of",
        f"the image (`{ATTRIBUTES_FILE}`, `{WEIGHTS_FILE}`; NumPy only). An attribute is `ok` where it is right",
        f"{100 * content['target_precision']:.3g} times in 100. On the {content['rows']:,} validation images of",
        f"`{content['dataset']}`, which set temperatures and thresholds:",
        "",
        *table(header, rows),
    ]
    return "\n".join(lines)


def report(folder: Path, content: dict) -> list[str]:
    size = sum((folder / name).stat().st_size for name in (ATTRIBUTES_FILE, WEIGHTS_FILE))
    lines = [
        f"{folder / ATTRIBUTES_FILE}, {WEIGHTS_FILE}: {size / 1e6:.2f} MB; on {content['rows']} validation images:"
    ]
    for name, head in content["attributes"].items():
        scores = head["scores"]
        lines.append(
            f"  {name}: accuracy {scores['accuracy']:.4f}, macro-F1 {scores['macro_f1']:.4f}, "
            f"{scores['published']:.1%} ok at {100 * content['target_precision']:.3g}%"
        )
    return lines


if __name__ == "__main__":
    main()
