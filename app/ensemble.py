"""Several models that answer as one: the mean of their calibrated probabilities.

    ensemble = Ensemble([Classifier.load("runs/a"), Classifier.load("runs/b")])
    for prediction in ensemble.stream(["shirt.jpg", "shoe.png"]):

The status of an image comes from the first model's calibration, if it has one, and so do its attributes.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import numpy as np

from .classifier import BATCH_SIZE, Classifier, Product, Scores
from .model_files import ModelError
from .prediction import Prediction

NAMES_SHOWN = 5


def load_models(
    folders: Sequence[str | os.PathLike[str]], precision: str = "auto", device: str = "cpu", workers: int | None = None
) -> "Classifier | Ensemble":
    """A Classifier for one folder, an Ensemble for several; options as in Classifier.load. Raises ModelError."""
    members = [Classifier.load(folder, workers, precision, device) for folder in folders]
    return members[0] if len(members) == 1 else Ensemble(members)


class Ensemble:
    """Like a Classifier, but without titles. The models may differ in input size, preprocessing and order of labels."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        """Raises ModelError if the models do not know the same labels."""
        self.members = list(members)
        self.labels = self.members[0].labels
        for member in self.members[1:]:
            different = sorted(set(member.labels) ^ set(self.labels))
            if different:
                names = ", ".join(different[:NAMES_SHOWN]) + (" …" if len(different) > NAMES_SHOWN else "")
                raise ModelError(
                    f"{self.members[0].name} and {member.name} do not know the same labels ({len(self.labels)} and "
                    f"{len(member.labels)}; only one of them has {names}): average models of the same labels"
                )
        # For each model the columns of its probabilities in the order of the first model's labels.
        self._columns = [[member.labels.index(label) for label in self.labels] for member in self.members]

    def stream(
        self, images: Iterable[Product], top_k: int = 5, batch_size: int = BATCH_SIZE, tta: int = 1
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`, as Classifier.stream."""
        for scores in self.stream_scores(images, batch_size, tta):
            yield self.prediction(scores, top_k)

    def stream_scores(self, images: Iterable[Product], batch_size: int = BATCH_SIZE, tta: int = 1) -> Iterator[Scores]:
        """The averaged scores in the order of `images`, as Classifier.stream_scores. Each model opens each image."""
        copies = tee(images, len(self.members))
        streams = [
            member.stream_scores(copy, batch_size, tta) for member, copy in zip(self.members, copies, strict=True)
        ]
        for scores in zip(*streams, strict=True):
            yield self._mean(scores)

    def prediction(self, scores: Scores, top_k: int = 5) -> Prediction:
        """As Classifier.prediction."""
        return self.members[0].prediction(scores, top_k)

    def _mean(self, scores: Sequence[Scores]) -> Scores:
        aligned = [
            member_scores.probabilities[columns]
            for member_scores, columns in zip(scores, self._columns, strict=True)
            if member_scores.probabilities is not None
        ]
        if len(aligned) < len(scores):
            return next(member_scores for member_scores in scores if member_scores.error)
        return Scores(np.mean(aligned, axis=0), scores[0].unknown_score, attributes=scores[0].attributes)
