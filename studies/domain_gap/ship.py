"""The fashion model to ship: what a joint training left, with its graph, scored on what it was not trained on."""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from app.errors import UserError
from app.model_files import CONFIG_FILE, PREPROCESSOR_FILE
from data_prep.pipeline.card import table
from data_prep.pipeline.prepared import load_prepared
from evaluation.checked_export import export_folder
from evaluation.scoring import score_once
from models.registry import load_trained
from studies.common.report import percent
from studies.common.shipping import check_empty, write_card
from studies.common.units import WEIGHTS_FILE
from studies.domain_gap.common_labels import ON_PHOTOS, common_probabilities
from studies.domain_gap.data import Source
from studies.domain_gap.results_page import scores
from training.image_dataset import cached_pixels
from training.network import Network, linear_head

LABEL = "articleType"
SPLITS = ("validation", "test")
COPIED = (WEIGHTS_FILE, CONFIG_FILE, PREPROCESSOR_FILE, "arguments.json")
RARE, HELP = 50, 0.5  # training images, and share of log(RARE / images) that is added to the logits of rarer classes
CARD = """# {title}

Tells {classes} values of `{label}` apart, from product images resized to {size}×{size} pixels: catalogue images and
people's own photos of clothes.

{table}

Of {photos} photos that people took of their clothes, which no training saw, {photo_accuracy} percent get the right
one of {common} classes (results/README.md).

Data: Fashion Product Images (Small) from Kaggle (MIT), the photos of the clothing dataset (CC0) and a sample of
Fashion-MNIST (MIT), from ImageNet weights of EfficientNet-Lite1 (Apache-2.0). It learned their labels, the words of the
products' titles and the answers of two teachers, EfficientNet-Lite2 and a ViT-S, trained on the same images.

Limits: it knows fashion and some personal care; it should call other products unknown. Article types with
fewer than ten training images are often wrong, and neighbours such as Flats and Casual Shoes are taken for each other,
as in the data's own labels. results/README.md has every class.

It is the row {row} of `python -m studies.domain_gap`, seed 42, with {help} log({rare} / images) added to the logits of
classes with fewer than {rare} training images (results/README.md). `config.json` holds the labels and the taxonomy,
`arguments.json` every argument. Written by

    {command}

Try it:

    python predict.py --model {title} --image_path photo.jpg
"""


def ship_model(trained: Path, kaggle: Path, photos: Source, command: str, output: Path) -> None:
    """Write `output`, a model folder with its graph, of the weights in `trained`, rounded to 16 bits.

    kaggle: the prepared catalogue. photos: to be scored on as well. command: for the card.
    Raises UserError where `trained` has no weights or `output` is not empty.
    """
    check_empty(output, "--ship")
    row = trained.parent.name
    if not (trained / WEIGHTS_FILE).is_file():
        raise UserError(f"--ship: the row {row} was not run; run it with --only {row}")
    output.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(trained / name, output / name)
    help_rare_classes(output, str(kaggle))
    export_folder(output, str(kaggle), half=True)
    write_scores(output, row, kaggle, photos, command)


def help_rare_classes(folder: Path, kaggle: str) -> None:
    """Logit adjustment (Menon et al. 2020, arXiv:2007.07314) of the classes with few training images alone.

    To help the others, too, costs accuracy and mixes up which answers are the surest (results/README.md).
    """
    train = load_prepared(kaggle, LABEL, ["train"])["train"]
    model = load_trained(folder)
    bias = linear_head(model).bias
    name = next(name for name, parameter in model.named_parameters() if parameter is bias)
    weights = load_file(folder / WEIGHTS_FILE)
    images = np.bincount(train[LABEL], minlength=len(bias)).clip(1)
    weights[name] += torch.tensor(HELP * np.log(RARE / images).clip(0), dtype=torch.float32)
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def write_scores(folder: Path, row: str, kaggle: Path, photos: Source, command: str) -> None:
    """README.md with the scores on the catalogue and on photos."""
    network = Network(folder)
    size = network.model.config.image_size
    dataset = load_prepared(str(kaggle), LABEL, SPLITS)
    by_split = []
    for name in SPLITS:
        logits = network.logits(cached_pixels(dataset[name], size, kaggle / "cache"))
        by_split.append(score_once(logits, np.array(dataset[name][LABEL])))
    on_photos = scores(common_probabilities(network, photos.scored_pixels(size)), photos, ON_PHOTOS)
    cells = [[metric, *(f"{split[metric]:.4f}" for split in by_split)] for metric in by_split[0]]
    write_card(
        folder,
        CARD,
        classes=len(network.labels),
        label=LABEL,
        size=size,
        table="\n".join(table(["metric", *SPLITS], cells)),
        photos=len(photos.truth),
        photo_accuracy=percent(on_photos["accuracy"]),
        common=len(ON_PHOTOS),
        row=row,
        rare=RARE,
        help=HELP,
        command=command,
    )
