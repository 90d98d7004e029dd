"""Several models that answer as one: the mean of their calibrated probabilities.

    ensemble = Ensemble([Classifier.load("runs/a"), Classifier.load("runs/b")])
    for prediction in ensemble.stream(["shirt.jpg", "shoe.png"]):

The status of an image comes from the first model's calibration, if it has one.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import numpy as np

from .classifier import BATCH_SIZE, Classifier, ModelError, Prediction
from .images import ImageError, ImageSource

NAMES_SHOWN = 5


def load_models(
    folders: Sequence[str | os.PathLike], precision: str = "auto", device: str = "cpu", workers: int | None = None
) -> "Classifier | Ensemble":
    """One folder makes a Classifier, several an Ensemble; the options are Classifier.load's. Raises ModelError."""
    members = [Classifier.load(folder, workers, precision, device) for folder in folders]
    return members[0] if len(members) == 1 else Ensemble(members)


class Ensemble:
    """Has `labels` and `stream` like a Classifier. The models may differ in size, preprocessing and order of labels."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        """Raises ModelError where the models do not know the same labels."""
        self.members = list(members)
        self.labels = self.members[0].labels
        self._place = {label: place for place, label in enumerate(self.labels)}
        for member in self.members[1:]:
            different = sorted(set(member.labels) ^ set(self.labels))
            if different:
                names = ", ".join(different[:NAMES_SHOWN]) + (" …" if len(different) > NAMES_SHOWN else "")
                raise ModelError(
                    f"{self.members[0].name} and {member.name} do not know the same labels ({len(self.labels)} and "
                    f"{len(member.labels)}; only one of them has {names}): average models of the same labels"
                )

    def stream(
        self, images: Iterable[ImageSource | ImageError], top_k: int = 5, batch_size: int = BATCH_SIZE, tta: int = 1
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`, as Classifier.stream. Each model opens each image itself."""
        copies = tee(images, len(self.members))
        every = len(self.labels)
        streams = [one.stream(copy, every, batch_size, tta) for one, copy in zip(self.members, copies, strict=True)]
        for answers in zip(*streams, strict=True):
            yield self._merge(answers, top_k)

    def _merge(self, answers: Sequence[Prediction], top_k: int) -> Prediction:
        failed = next((answer for answer in answers if answer.status == "error"), None)
        if failed:
            return failed
        probabilities = np.zeros(len(self.labels))
        for answer in answers:
            for label, confidence in answer.top_k:
                probabilities[self._place[label]] += confidence / len(answers)
        return self.members[0].prediction(probabilities, answers[0].unknown_score, top_k)
