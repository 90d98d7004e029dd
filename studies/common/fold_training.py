"""A training of a study as train.py does it, and one fold of one recipe, asked about the images that it did not see."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from evaluation.provenance import command_line
from training.arguments import build_parser, parse
from training.cross_validation import POOLED, FoldData, Pool
from training.data import PreparedData, open_data
from training.network import Network, larger_size, views, with_mirror_images
from training.run import train_model
from training.trainer import ImageTrainer

LOG_NAME = "train.log"
# The last epoch's weights count: choosing an epoch by the held-out rows would flatter their score.
LAST_EPOCH = ("--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "False")
PROTOCOL = (*LAST_EPOCH, "--export_onnx", "False", "--disable_tqdm", "True", "--logging_strategy", "epoch")


def run_training(
    argv: Sequence[str],
    folder: Path,
    held_out: tuple[Pool, int] | None = None,
    trainer_class: Callable[..., ImageTrainer] = ImageTrainer,
) -> None:
    """Write a model folder. argv: arguments of train.py. held_out: a pool of the dataset's rows and one of its folds.

    Raises UserError, also where the loss is not a finite number any more.
    """
    arguments, recipe, training = parse(build_parser(__doc__), [*argv, "--output_dir", str(folder)])
    data = open_data(arguments, recipe)
    if held_out:
        splits = DatasetDict({split: data.splits[split] for split in POOLED})
        data = FoldData(data.folder, data.label, splits, data.cache, *held_out)
    train_model(data, training, arguments, recipe, command_line("train.py", argv), trainer_class)


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """What a training prints goes to a file in its folder; errors of its options go to the screen."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG_NAME, "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield


def train_fold(
    arguments: Sequence[str], dataset: Path, pool: Pool, size: int, fold: int, test_views: bool, folder: Path
) -> dict[str, np.ndarray]:
    """`ids` (rows,) of the held-out images and `logits` (views, rows, classes) float32 of them.

    arguments: of train.py. pool: of the dataset's rows. test_views: all of network.views, else the image and its mirror
    image.
    """
    argv = [*arguments, *PROTOCOL, "--dataset", str(dataset), "--image_size", str(size)]
    with logged(folder):
        run_training(argv, folder, (pool, fold))
    held_out = np.flatnonzero(pool.fold_of == fold)
    pixels = pooled_pixels(dataset, size)[held_out]
    if test_views:
        shown = views(pixels, pooled_pixels(dataset, larger_size(size))[held_out])
    else:
        shown = with_mirror_images(pixels)
    network = Network(folder)
    logits = np.stack([network.logits(view) for view in shown])
    return {"ids": np.array(pool.ids)[held_out], "logits": logits.astype(np.float32)}


def pooled_pixels(dataset: Path, size: int) -> np.ndarray:
    """The images that the folds are cut from, in the order of the pool: (rows, size, size, 3) uint8."""
    images = PreparedData.open(str(dataset), "label").images(["label"], size, seed=0)
    return np.concatenate([images[split].pixels for split in POOLED])
