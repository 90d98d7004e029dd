"""From a network's logits to probabilities that can be believed; NumPy only.

Softmax(temperature=1.1)(logits)                     # (rows, labels) -> the same in float64
"""

from dataclasses import dataclass

import numpy as np

from .model_json import is_number

LEFT = 0.02  # of a probability that is below the floor: none becomes 0


@dataclass(frozen=True, slots=True, eq=False)
class Softmax:
    """temperature: what the logits are divided by (Guo et al. 2017).

    floor: (labels,) float64, the probability that a label gets however little the image looks like it. Smoothed labels
    and teachers leave one, and it hides how sure the surest answers are. It is taken from every label but the best, so
    that no answer changes. None: there is none.
    """

    temperature: float = 1.0
    floor: np.ndarray | None = None

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """(rows, labels) float32 -> the same in float64: sums over a category are exact."""
        logits = logits.astype(np.float64)
        with np.errstate(invalid="ignore"):  # a row that is not finite stays so and fails its own image
            if self.floor is not None:
                logits = without_floor(logits, self.floor)
            return softmax(logits / self.temperature)


def read_floor(shares: object, labels: int) -> np.ndarray | None:
    """What calibration.json says. Raises TypeError for anything but a share for each label."""
    if shares is None:
        return None
    if (
        not isinstance(shares, list)
        or len(shares) != labels
        or not all(is_number(one) and 0 <= one < 1 for one in shares)
    ):
        raise TypeError(f"floor must be {labels} numbers from 0 to below 1")
    return np.array(shares, dtype=np.float64)


def without_floor(logits: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """(rows, labels) float64 logits with the floor taken away."""
    probabilities = softmax(logits)
    best = probabilities.argmax(axis=1)[:, None]
    kept = np.maximum(probabilities - floor, LEFT * probabilities)
    np.put_along_axis(kept, best, np.take_along_axis(probabilities, best, axis=1), axis=1)
    return np.log(np.maximum(kept, np.finfo(np.float64).tiny))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(..., labels) -> the same in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
