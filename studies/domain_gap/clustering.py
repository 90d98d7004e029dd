"""Sort images of another kind into classes without a label, by clusters of features that were trained on neither.

    sort_images(Path("runs/kaggle_phone"), "pretrained/efficientnet_lite2", few, photos, 224, Path("runs/clustered"))

Two networks that err differently say what each image may be: one trained on the catalogue, and a linear layer on
ImageNet features that stayed as they were. Their mean answer gives the first class means among the images' own
features; the nearest mean is each image's label (as in SHOT, adaptation.py), which a linear layer then learns.
"""

from pathlib import Path

import numpy as np
from datasets import DatasetDict
from scipy.special import softmax

from models.registry import normalization_of
from studies.domain_gap.adaptation import labels_by_similarity
from studies.domain_gap.data import Source
from training.frozen_head import linear_layer, with_layer
from training.image_dataset import cached_pixels
from training.model_card import write_preprocessor
from training.network import Network


def sort_images(trained: Path, weights: str, catalog: Path, photos: Source, size: int, output: Path) -> None:
    """Write a model of `weights` with a linear layer that learned the photos' clusters into the folder `output`.

    trained: a model of the common classes. catalog: dataset with labels to fit the first linear layer on. size: of
    the images that the features are of. The photos' own labels are not read, only which classes occur.
    """
    classes = np.unique(photos.truth)
    features, answering = Network(weights), Network(trained)
    pixels, truth = images_of(catalog, classes, size)
    weight, bias = linear_layer(features.embeddings(pixels)[None], truth)
    own = features.embeddings(photos.pixels("train", size))
    small = photos.pixels("train", answering.model.config.image_size)
    answers = [softmax(logits[:, classes], axis=1) for logits in (answering.logits(small), own @ weight.T + bias)]
    labels = classes[labels_by_similarity(own, mean_answer(answers))]
    model = with_layer(weights, answering.labels, size, *linear_layer(own[None], labels))
    model.save_pretrained(output)
    write_preprocessor(output, size, *normalization_of(weights))


def images_of(dataset: Path, classes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The training images of these classes, (rows, size, size, 3) uint8, and their class numbers (rows,)."""
    split = DatasetDict.load_from_disk(dataset)["train"]
    truth = np.array(split["label"])
    kept = np.isin(truth, classes)
    return cached_pixels(split, size, dataset / "cache")[kept], truth[kept]


def mean_answer(answers: list[np.ndarray]) -> np.ndarray:
    """The geometric mean of probabilities (rows, classes): a class that one answer rules out stays ruled out."""
    mean = np.exp(np.mean(np.log(np.clip(answers, 1e-12, None)), axis=0))
    return mean / mean.sum(axis=1, keepdims=True)
