"""How much of the hottest tenth of a heat map lies on the product, wherever the product is.

    python -m benchmarks.heat_map --model app/models/fashion --dataset data/kaggle_fashion --label Shirts

Products of one label are put into the middle and the four corners of a white canvas, half as long as it; the last line
of the table is what chance would give. Takes a minute.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from app.classifier import Classifier
from app.errors import OneLineParser, UserError, one_line_errors
from app.explain import heat_map
from app.images import load_image
from evaluation.predictions import encoded, load_split

PLACES = {"middle": (0.5, 0.5), "top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}
SIDE = 320
HOTTEST = 0.1


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        classifier = Classifier.load(options.model)
        products = list(read_products(classifier, options.dataset, options.label, options.images))
        chance = []
        for place, (down, right) in PLACES.items():
            hits = []
            for product in products:
                image, covered = on_canvas(product, options.size, down, right)
                hits.append(share_on_product(heat_map(classifier, image), covered))
                chance.append(covered.mean())
            print(f"{place:<14} {np.mean(hits):.0%}", flush=True)
        print(f"{'chance':<14} {np.mean(chance):.0%}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m benchmarks.heat_map", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--dataset", required=True, help="prepared dataset with a test split")
    parser.add_argument("--label", default="Shirts", help="whose products to take (default: %(default)s)")
    parser.add_argument("--images", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument("--size", type=float, default=0.5, help="product's longer side / canvas (default: %(default)s)")
    return parser


def read_products(classifier: Classifier, dataset: str, label: str, count: int) -> Iterator[Image.Image]:
    """The first products of a label in the test split. Raises UserError where there are none."""
    rows, truth = load_split(classifier, dataset, "test")
    if label not in classifier.labels:
        raise UserError(f"--label {label}: the model has no such label")
    chosen = np.flatnonzero(truth == classifier.labels.index(label))[:count]
    if not len(chosen):
        raise UserError(f"--label {label}: the test split of {dataset} has no such image")
    return (load_image(data) for data in encoded(rows, chosen))


def on_canvas(product: Image.Image, size: float, down: float, right: float) -> tuple[Image.Image, np.ndarray]:
    """A white canvas with the product on it, and (SIDE, SIDE) bool where it lies."""
    scale = size * SIDE / max(product.size)
    product = product.resize((round(product.width * scale), round(product.height * scale)))
    left, top = round(right * (SIDE - product.width)), round(down * (SIDE - product.height))
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    canvas.paste(product, (left, top))
    covered = np.zeros((SIDE, SIDE), dtype=bool)
    covered[top : top + product.height, left : left + product.width] = True
    return canvas, covered


def share_on_product(heat: np.ndarray, covered: np.ndarray) -> float:
    """The share of the hottest HOTTEST of the heat that lies where the product is."""
    height, width = heat.shape
    covered = np.asarray(Image.fromarray(covered).resize((width, height), Image.Resampling.NEAREST))
    hottest = np.argsort(-heat, axis=None, kind="stable")[: round(HOTTEST * heat.size)]
    return float(covered.ravel()[hottest].mean())


if __name__ == "__main__":
    main()
