"""One fold of one recipe: trained by train.py --folds --fold, then asked about the images that it did not see."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
from datasets import DatasetDict

import train
from studies.common.network import Network, larger_size, views
from training.cross_validation import OOF_NAME, POOLED
from training.image_dataset import cached_pixels

LOG_NAME = "train.log"
# The last epoch's weights count: an epoch chosen by the held-out rows would flatter their score.
PROTOCOL = (
    *("--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "False"),
    *("--export_onnx", "False", "--disable_tqdm", "True", "--logging_strategy", "epoch"),
)


def train_fold(
    arguments: Sequence[str], dataset: Path, size: int, folds: int, fold: int, test_views: bool, folder: Path
) -> dict[str, np.ndarray]:
    """`ids` (rows,) of the held-out images and `logits` (views, rows, classes) float32 about them.

    arguments: of train.py. test_views: all of inference.views, else the image and its mirror image.
    """
    more = ["--dataset", str(dataset), "--image_size", str(size), "--folds", str(folds), "--fold", str(fold)]
    run_training([*arguments, *PROTOCOL, *more, "--output_dir", str(folder)], folder)
    trained = folder / f"fold_{fold}"
    ids = pyarrow.parquet.read_table(trained / OOF_NAME, columns=["id"])["id"].to_pylist()
    rows = rows_of(dataset, ids)
    pixels = pooled_pixels(dataset, size)[rows]
    network = Network(trained)
    if test_views:
        shown = views(pixels, pooled_pixels(dataset, larger_size(size))[rows])
    else:
        shown = (pixels, pixels[:, :, ::-1])
    return {"ids": np.array(ids), "logits": np.stack([network.logits(view) for view in shown])}


def run_training(arguments: Sequence[str], folder: Path) -> None:
    with logged(folder):
        train.main(list(arguments))


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """What a training prints goes to a file in its folder; errors of its options go to the screen."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG_NAME, "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield


def pooled_pixels(dataset: Path, size: int) -> np.ndarray:
    """The images that the folds are cut from, in the order of training/cross_validation.py: (rows, size, size, 3) uint8."""
    splits, cache = DatasetDict.load_from_disk(dataset), dataset / "cache"
    return np.concatenate([cached_pixels(splits[name], size, cache) for name in POOLED])


def rows_of(dataset: Path, ids: Sequence[str]) -> list[int]:
    """Where in pooled_pixels the images of these ids are."""
    splits = DatasetDict.load_from_disk(dataset)
    row_of = {identity: row for row, identity in enumerate(i for name in POOLED for i in splits[name]["id"])}
    return [row_of[identity] for identity in ids]
