"""The fashion model to ship: the weights of a joint training, averaged with those that it began from.

Such an average can be better than either (WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). How the
share was chosen stands in results/README.md.
"""

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
from studies.common.report import percent
from studies.common.shipping import check_empty, write_card
from studies.common.units import WEIGHTS_FILE
from studies.domain_gap.common_labels import ON_PHOTOS, common_probabilities
from studies.domain_gap.data import Source
from studies.domain_gap.results_page import scores
from training.image_dataset import cached_pixels
from training.network import Network

LABEL = "articleType"
SPLITS = ("validation", "test")
COPIED = (CONFIG_FILE, PREPROCESSOR_FILE, "arguments.json")
CARD = """# {title}

Tells {classes} values of `{label}` apart, from product images resized to {size}×{size} pixels: catalogue images and
people's own photos of clothes.

{table}

Of {photos} photos that people took of their clothes, which no training saw, {photo_accuracy} percent get the right
one of {common} classes (results/README.md).

Data: Fashion Product Images (Small) from Kaggle (MIT), the photos of the clothing dataset (CC0) and a sample of
Fashion-MNIST (MIT), from ImageNet weights of MobileNetV2 (Apache-2.0).

Limits: it knows fashion and some personal care; it should call other products unknown. Article types with
fewer than ten training images are often wrong, and neighbours such as Flats and Casual Shoes are taken for each other,
as in the data's own labels. results/README.md has every class.

{share:.0%} of the weights are those of the row {row} of `python -m studies.domain_gap`, seed 42, which also learned the
words of the products' titles; the rest are the weights that it began from (results/README.md). `config.json` holds the
labels and the taxonomy, `arguments.json` every argument. Averaged by

    {command}

Try it:

    python predict.py --model {title} --image_path photo.jpg
"""


def ship_average(
    trained: Path, start: Path, share: float, kaggle: Path, photos: Source, command: str, output: Path
) -> None:
    """Write `output`, a model folder with its graph: `share` of the weights in `trained`, the rest of `start`'s.

    kaggle: the prepared catalogue. photos: to be scored on as well. command: for the card.
    Raises UserError where a folder has no weights, `share` is not a share or `output` is not empty.
    """
    check_empty(output, "--ship")
    if not 0 <= share <= 1:
        raise UserError(f"--share {share} must be from 0 to 1")
    row = trained.parent.name
    if not (trained / WEIGHTS_FILE).is_file():
        raise UserError(f"--ship: the row {row} was not run; run it with --only {row}")
    if not (start / WEIGHTS_FILE).is_file():
        raise UserError(f"--ship: {start} has no {WEIGHTS_FILE}; --fashion names the folder that {row} began from")
    output.mkdir(parents=True, exist_ok=True)
    weights = averaged(load_file(trained / WEIGHTS_FILE), load_file(start / WEIGHTS_FILE), share)
    save_file(weights, output / WEIGHTS_FILE, metadata={"format": "pt"})
    for name in COPIED:
        shutil.copyfile(trained / name, output / name)
    export_folder(output, str(kaggle), half=True)
    write_scores(output, row, share, kaggle, photos, command)


def averaged(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """`share` of first and the rest of second; counters, which are not weights, are first's. Raises UserError."""
    if {name: own.shape for name, own in first.items()} != {name: own.shape for name, own in second.items()}:
        raise UserError("--ship: the row and --fashion have different architectures or labels")
    return {
        name: torch.lerp(second[name], weight, share) if weight.is_floating_point() else weight
        for name, weight in first.items()
    }


def write_scores(folder: Path, row: str, share: float, kaggle: Path, photos: Source, command: str) -> None:
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
        share=share,
        row=row,
        command=command,
    )
