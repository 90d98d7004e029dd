"""The fashion model to ship: the average of the weights of two joint trainings that began at the same model.

Such an average can be better than either of them (model soups, Wortsman et al. 2022, https://arxiv.org/abs/2203.05482).
How the share was chosen stands in results/README.md.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from app.model_files import CONFIG_FILE, PREPROCESSOR_FILE
from data_prep.pipeline.prepared import load_prepared
from evaluation.metrics import ClassificationMetrics
from export import export_folder
from studies.common.network import Network, softmax
from studies.common.report import CARD_HEAD, percent
from studies.common.units import WEIGHTS_FILE
from studies.domain_gap.common_labels import ON_PHOTOS, in_common
from studies.domain_gap.data import Source
from studies.domain_gap.page import scores
from training.image_dataset import cached_pixels

LABEL = "articleType"
SPLITS = ("validation", "test")
COPIED = (CONFIG_FILE, PREPROCESSOR_FILE, "arguments.json")
CARD = (
    CARD_HEAD
    + """# {title}

Tells {classes} values of `{label}` apart, from product images padded to a square and resized to {size}×{size} pixels:
catalogue images and people's own photos of clothes.

| metric | {splits} |
|---|---|---|
{rows}

Of {photos} photos that people took of their clothes, which no training saw, {photo_accuracy} per cent get the right
one of {common} classes (results/domain_gap.md).

Data: Fashion Product Images (Small) from Kaggle (MIT), the photos of the clothing dataset (CC0) and a sample of
Fashion-MNIST (MIT), from ImageNet weights of MobileNetV2 (Apache-2.0).

Limits: it knows fashion and some personal care, no other products, which it should call unknown. Article types with
fewer than ten training images are often wrong (mean F1 below 0.4), and neighbours such as Flats and Casual Shoes are
taken for each other, as in the data's own labels. Thresholds were set on catalogue images: people's photos are
published less often. results/README.md has every class.

The average of two joint trainings of `studies/domain_gap/study.py`, seed 42, both on from a model of the catalogue alone
(results/README.md): {share:.0%} of {first}, the rest of {second}. `config.json` holds the labels and the taxonomy,
`arguments.json` every argument of {first}. Averaged by

    {command}

Try it:

    python predict.py --model {title} --image_path photo.jpg
"""
)


def ship_average(
    folders: Sequence[Path], share: float, kaggle: Path, photos: Source, command: str, output: Path
) -> None:
    """Write `output`, a model folder with its graph: `share` of the first folder's weights, the rest of the second's.

    kaggle: the prepared catalogue. photos: to be scored on as well. command: for the card.
    Raises ValueError where a folder has no weights, `share` is none or `output` is not empty.
    """
    if output.is_dir() and any(output.iterdir()):
        raise ValueError(f"--ship {output} is not empty; name another folder or delete it")
    if not 0 <= share <= 1:
        raise ValueError(f"--share {share} is no share: it lies between 0 and 1")
    for folder in folders:
        if not (folder / WEIGHTS_FILE).is_file():
            raise ValueError(
                f"--ship: the row {folder.parent.name} was not run; run it with --only {folder.parent.name}"
            )
    output.mkdir(parents=True, exist_ok=True)
    weights = averaged(*(load_file(folder / WEIGHTS_FILE) for folder in folders), share)
    save_file(weights, output / WEIGHTS_FILE, metadata={"format": "pt"})
    for name in COPIED:
        shutil.copyfile(folders[0] / name, output / name)
    text = card(output, [folder.parent.name for folder in folders], share, kaggle, photos, command)
    (output / "README.md").write_text(text, encoding="utf-8")
    export_folder(output, str(kaggle))


def averaged(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """`share` of first and the rest of second; counters, which are no weights, are first's. Raises ValueError."""
    if {name: each.shape for name, each in first.items()} != {name: each.shape for name, each in second.items()}:
        raise ValueError("--ship: the two rows were trained from different architectures or labels")
    return {
        name: torch.lerp(second[name], each, share) if each.is_floating_point() else each
        for name, each in first.items()
    }


def card(folder: Path, rows: Sequence[str], share: float, kaggle: Path, photos: Source, command: str) -> str:
    network = Network(folder)
    size = network.model.config.image_size
    found = {}
    dataset = load_prepared(str(kaggle), LABEL, SPLITS)
    for name in SPLITS:
        logits = network.logits(cached_pixels(dataset[name], size, kaggle / "cache"))
        found[name] = ClassificationMetrics().compute(predictions=logits, references=dataset[name][LABEL])
    on_photos = in_common(softmax(network.logits(photos.scored_pixels(size))), network.labels)
    lines = [[metric, *(f"{each[metric]:.4f}" for each in found.values())] for metric in next(iter(found.values()))]
    return CARD.format(
        title=folder.name,
        classes=len(network.labels),
        label=LABEL,
        size=size,
        splits=" | ".join(found),
        rows="\n".join(f"| {' | '.join(row)} |" for row in lines),
        photos=len(photos.truth),
        photo_accuracy=percent(scores(on_photos, photos, ON_PHOTOS)["accuracy"]),
        common=len(ON_PHOTOS),
        share=share,
        first=rows[0],
        second=rows[1],
        command=command,
    )
