"""A linear layer on the features of pretrained weights that stay as they are: a minute instead of an hour.

    python train.py --frozen --dataset photos/      # 500 photos: under a minute on 2 cores

The layer is a logistic regression whose strength cross-validation chooses; the folds never split a duplicate group.
What each image was answered by the fold that held it out calibrates and scores the model, which itself learns all of
train and validation, and the test split too where that has only few images. The folder is like any other.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from datasets import Dataset, concatenate_datasets
from tqdm import tqdm
from transformers import PreTrainedModel

from app.errors import UserError
from data_prep.pipeline.command import available_cores
from data_prep.pipeline.out_of_fold import OOF_NAME, write_out_of_fold
from evaluation.predictions import encoded, spread, undecoded
from evaluation.scoring import score_once
from models.export_onnx import CHECKED_IMAGES, export_onnx
from models.pretrained_graph import Features, pretrained_graph, with_head
from models.registry import build_model, checkpoint_of
from training.arguments import Arguments
from training.checkpoints import check_writable, nothing_left_behind
from training.cross_validation import Pool, deal_folds, out_of_fold
from training.data import PreparedData
from training.frozen_head import NEVER, choose_strength, held_out_logits, linear_layer, set_layer
from training.image_dataset import decode
from training.model_card import OUT_OF_FOLD, FolderContent, without_place
from training.network import Network, linear_head
from training.progress import say
from training.run_state import one_training

FOLDS = 5
BATCH_SIZE = 16  # images for one thread
FEW_IMAGES = 1000  # of which none are held back for a test
MADE = "A linear layer on the frozen features of {source}, fitted on"


@dataclass(frozen=True)
class Pooled:
    """The images that teach and are held out in turns. splits: whose. truth: (rows,) label ids."""

    rows: Dataset
    splits: Sequence[str]
    label: str

    @property
    def truth(self) -> np.ndarray:
        return np.asarray(self.rows[self.label])


def train_frozen(
    data: PreparedData, arguments: Arguments, seed: int, output: Path, command: str
) -> tuple[Path, Sequence[str]]:
    """Write a complete folder to `output`; gives its oof.parquet and the splits that it is about.

    Raises UserError and ExportError.
    """
    source = None if arguments.from_scratch else arguments.pretrained or checkpoint_of(arguments.model)
    if source is None:
        raise UserError("--frozen needs pretrained weights: leave out --from_scratch, or give --pretrained DIR")
    with nothing_left_behind([output]):
        check_writable(output, "--output_dir")
        with one_training(output):
            return _train_frozen(data, arguments, source, seed, output, command)


def _train_frozen(
    data: PreparedData, arguments: Arguments, source: str, seed: int, output: Path, command: str
) -> tuple[Path, Sequence[str]]:
    pooled = pool_rows(data)
    names = pooled.rows.features[data.label].names
    pool = make_pool(pooled, names, seed)
    network = Frozen(source, names, arguments)
    features = embed_rows(network, pooled.rows, arguments.progress_file)
    say(arguments.progress_file, "fit")
    strength = choose_strength(features, pool.labels, pool.fold_of)
    logits = np.full((len(pool.ids), len(names)), NEVER)  # also for a class that only the test split has
    held_out = held_out_logits(features, pool.labels, pool.fold_of, strength)[0]
    logits[:, : held_out.shape[1]] = held_out
    model, graph = network.with_layer(*linear_layer(features, pool.labels, strength))
    model.config.taxonomy = data.taxonomy()
    scores = {f"{OUT_OF_FOLD}_{name}": value for name, value in score_once(logits, pool.labels).items()}
    made = MADE.format(source=without_place(arguments.pretrained or arguments.model))
    normalization = arguments.normalization()
    content = FolderContent(model, normalization, arguments, command, made, scores)
    content.write(
        output, {"frozen_features": {"strength": strength, "folds": FOLDS, "splits": list(pooled.splits)}}, seed
    )
    everyone = np.arange(len(pool.ids))
    made_by = {"fingerprint": data.fingerprint(), "command": command}
    predictions = out_of_fold(pool, everyone, logits, embeddings=features[0], made_by=made_by)
    write_out_of_fold(output / OOF_NAME, predictions)
    say(arguments.progress_file, "export")
    some = encoded(undecoded(pooled.rows), spread(len(pooled.rows), CHECKED_IMAGES))
    pixels = np.stack([decode(data, network.size) for data in some])
    difference = export_onnx(model, network.inputs(pixels), output / "model.onnx", graph)
    print(f"{output / 'model.onnx'}: C {strength:g} by {FOLDS} folds, probabilities within {difference:.0e} of torch's")
    return output / OOF_NAME, pooled.splits


def pool_rows(data: PreparedData) -> Pooled:
    """All rows with a leaf label of train and validation, and of test where there are few."""
    total = sum(map(len, data.splits.values()))
    splits = [name for name in ("train", "validation", "test") if name in data.splits]
    if total >= FEW_IMAGES and "test" in splits:
        splits.remove("test")
    rows = concatenate_datasets([data.splits[name] for name in splits])
    labeled = np.flatnonzero(np.asarray(rows[data.label]) >= 0)
    return Pooled(rows.select(labeled), splits, data.label)


def make_pool(pooled: Pooled, names: list[str], seed: int) -> Pool:
    """Raises UserError where no class has images for two folds."""
    groups, truth = pooled.rows["group"][:], pooled.truth
    folds = min(FOLDS, len(set(groups)), int(np.bincount(truth).max()))
    if folds < 2:
        raise UserError("cross-validation needs two different images of a class at least: add images")
    return Pool(pooled.rows["id"][:], groups, truth, names, deal_folds(groups, truth, folds, seed))


class Frozen:
    """Pretrained weights that give features; their graph does on a CPU, which is twice as fast as torch there."""

    def __init__(self, source: str, names: Sequence[str], arguments: Arguments) -> None:
        """names: of the labels. Raises UserError and ExportError."""
        self.size, self.normalization = arguments.image_size, arguments.normalization()
        self.model = build_model(source, list(names), self.size, pretrained=source)
        head = linear_head(self.model)
        self._graph = pretrained_graph(self.model, head, self.size) if head.bias is not None else None
        has_gpu = torch.accelerator.is_available()
        self._features = None if has_gpu or self._graph is None else Features(self._graph)
        self._network = None if self._features else Network(source)
        self.workers = 1 if has_gpu else available_cores()

    def inputs(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, size, size, 3) uint8 -> (rows, 3, size, size) float32 as the model reads them."""
        mean, std = (np.asarray(values, dtype=np.float32) for values in self.normalization)
        return np.ascontiguousarray(((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))

    def embeddings(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, size, size, 3) uint8 -> (rows, dim) float32; several threads may call it at once."""
        return self._features.embeddings(self.inputs(pixels)) if self._features else self._network.embeddings(pixels)

    def with_layer(self, weight: np.ndarray, bias: np.ndarray) -> tuple[PreTrainedModel, onnx.ModelProto | None]:
        """The model with this head, and its graph unless that is to be exported. weight: (classes, dim)."""
        set_layer(self.model, weight, bias)
        head = linear_head(self.model)
        values = (parameter.detach().numpy() for parameter in (head.weight, head.bias))
        return self.model, with_head(self._graph, *values) if self._graph else None


def embed_rows(network: Frozen, rows: Dataset, progress_file: str | None = None) -> np.ndarray:
    """(2, rows, dim) float32: of every image and of its mirror image."""
    say(progress_file, "features", 0, len(batch_starts(rows)))
    batches = [undecoded(rows).select(range(start, min(start + BATCH_SIZE, len(rows)))) for start in batch_starts(rows)]

    def embed(batch: Dataset) -> np.ndarray:
        pixels = np.stack([decode(image["bytes"], network.size) for image in batch["image"]])
        return np.stack([network.embeddings(view) for view in (pixels, pixels[:, :, ::-1])])

    # On a CPU several batches at once use the cores better than one batch on all of them.
    with one_thread_each(network.workers), ThreadPoolExecutor(network.workers) as pool:
        done = []
        for features in tqdm(pool.map(embed, batches), "features", len(batches), unit=" batches", disable=None):
            done.append(features)
            say(progress_file, "features", len(done), len(batches))
        return np.concatenate(done, axis=1)


def batch_starts(rows: Dataset) -> range:
    return range(0, len(rows), BATCH_SIZE)


@contextmanager
def one_thread_each(workers: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if workers > 1 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
