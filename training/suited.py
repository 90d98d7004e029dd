"""Defaults that suit the data and the machine, for a training whose model nobody chose.

    weights = best_weights()                             # what can be had here without the network, else from the Hub
    suit(arguments, recipe, training, given, data)       # sets what the command line leaves open

Photos of a few thousand images gain from a larger input, from many more steps and from stronger augmentation; what was
measured for that stands in docs/own_catalogue.md.
"""

import importlib.util
import io
import math
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from huggingface_hub import constants
from PIL import Image
from transformers import TrainingArguments

from evaluation.predictions import some_images
from models.convert import PACKAGES, read_weights, with_weights, write_folder
from models.registry import MODELS
from training.arguments import Arguments, Recipe
from training.data import PreparedData

BACKBONES = ("efficientnet_lite2", "efficientnet_lite0")  # best first
SIZES = (96, 128, 160, 192, 224)
LOOKED_AT = 64  # images, for their size
IMAGES_TO_SHOW = 70_000  # to the model in all, as long as that is so many epochs:
EPOCHS = (12, 60)
FEW_IMAGES = 6000  # below this smaller batches, which are more steps
UNSAID = ("early_stopping_patience", "greater_is_better")  # follow from the others
FEW = {"augment": "trivial", "ema": 0.998, "fit_head": True}
MANY = {"augment": "basic", "ema": 0.999}


def best_weights(names: Collection[str] = BACKBONES) -> tuple[str, str | None]:
    """A model's name, and the folder of its weights: of an installed package, else None for those on the Hub."""
    for name in names:
        package = PACKAGES[name]
        if importlib.util.find_spec(package.module) is None:
            continue
        folder = Path(constants.HF_HOME) / "snapshelf" / f"{name}-{package.sha256[:8]}"
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                written = Path(partial) / name
                write_folder(with_weights(package, read_weights(package)), package, written)
                os.replace(written, folder)
        return name, str(folder)
    return "mobilenet_v2", None


def choose_weights(arguments: Arguments) -> None:
    """The best weights that can be had, for a command line that does not say which."""
    name, folder = best_weights()
    arguments.model, arguments.pretrained = name if name in MODELS else folder, folder


def suit(
    arguments: Arguments, recipe: Recipe, training: TrainingArguments, given: Collection[str], data: PreparedData
) -> None:
    """Set what the command line leaves open. given: the names of its options."""
    images = len(data.splits["train"])
    suited = {
        "image_size": suitable_size(data),
        "num_train_epochs": min(max(math.ceil(IMAGES_TO_SHOW / images), EPOCHS[0]), EPOCHS[1]),
        **(FEW if images < FEW_IMAGES else MANY),
    }
    if images < FEW_IMAGES:
        suited |= {"per_device_train_batch_size": 32, "learning_rate": 5e-4}
        if "metric_for_best_model" not in given:  # the accuracy of a few hundred validation images is much by chance
            suited |= {"metric_for_best_model": "loss", "greater_is_better": False}
    suited["early_stopping_patience"] = suited["num_train_epochs"]
    chosen = {name: value for name, value in suited.items() if name not in given}
    for name, value in chosen.items():
        owner = next(part for part in (arguments, recipe, training) if hasattr(part, name))
        setattr(owner, name, value)
    words = ", ".join(f"--{name} {value}" for name, value in chosen.items() if name not in UNSAID)
    print(f"for {images:,} training images: --model {Path(arguments.model).name}, {words}")


def suitable_size(data: PreparedData) -> int:
    """The input that shows most of what the images have, 224 pixels at most."""
    sides = [min(size_of(image)) for image in some_images(data.splits["train"], LOOKED_AT)]
    middle = float(np.median(sides))
    return next((size for size in SIZES if size >= middle), SIZES[-1])


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height, from the header alone."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size
