"""Outputs of a network that does not exist, drawn so that every right answer is known."""

import numpy as np
from scipy.special import softmax

from app.taxonomy import Taxonomy
from evaluation.predictions import SplitOutputs
from tests.make_tiny_model import LABELS, TAXONOMY

TREE = Taxonomy([TAXONOMY["paths"][label] for label in LABELS], TAXONOMY["levels"])
EITHER = np.array([[True, True, False, False], [False, False, True, True]])  # classes of two labels each


def outputs(sure: float, noise: float, rows: int, seed: int, members: np.ndarray | None = None) -> SplitOutputs:
    """Logits that are `sure` of a label, and a truth that is as often another as the noise makes it."""
    generator = np.random.default_rng(seed)
    truth = np.arange(rows) % 4
    logits = sure * np.eye(4)[truth] + generator.normal(scale=noise, size=(rows, 4))
    embeddings = np.eye(4)[truth] + generator.normal(scale=0.2, size=(rows, 4))
    shown = truth if members is None else members.argmax(axis=0)[truth]
    groups = np.arange(rows).astype(str)
    return SplitOutputs(logits.astype(np.float32), embeddings.astype(np.float32), shown, groups, members)


def elsewhere(rows: int, seed: int) -> SplitOutputs:
    generator = np.random.default_rng(seed)
    embeddings = (-np.ones(4) + generator.normal(scale=0.6, size=(rows, 4))).astype(np.float32)
    logits = generator.normal(size=(rows, 4)).astype(np.float32)
    return SplitOutputs(logits, embeddings, np.zeros(rows, dtype=int), np.arange(rows).astype(str))


def two_kinds() -> dict[str, SplitOutputs]:
    """A catalogue that is too modest, and photos with coarser classes that are far too sure."""
    return {"catalog": outputs(3, 0.3, 900, 0), "photos": outputs(3, 4, 400, 1, EITHER)}


def smoothed_answers(rows: int, labels: int = 20, share: float = 0.2) -> SplitOutputs:
    """True probabilities under a floor, as a network gives them that learned smoothed labels."""
    generator = np.random.default_rng(0)
    true = softmax(generator.normal(0, 4, (rows, labels)), axis=1)
    truth = np.array([generator.choice(labels, p=row) for row in true])
    shown = (1 - share) * true + share / labels
    return SplitOutputs(np.log(shown).astype(np.float32), None, truth, np.arange(rows).astype(str))
