"""The loss of a training step: imbalance, smoothed and mixed labels, and a teacher, in one formula.

loss = Loss("focal", class_counts, class_weights="effective", smoothing=0.1)
loss(logits, one_hot(labels, 141))
"""

import numpy as np
import torch
import torch.nn.functional as F

CLASS_WEIGHTS = ("none", "inverse", "effective")
LOSSES = ("cross_entropy", "focal")
FOCAL_GAMMA = 2.0  # of Lin et al. 2017 (arXiv:1708.02002)
EFFECTIVE_BETA = 0.9999  # of Cui et al. 2019 (arXiv:1901.05555) for their largest data


class Loss(torch.nn.Module):
    """Mean loss of a batch of logits (batch, classes) float32 against targets (batch, classes), each row summing to 1.

    counts: training images per class, which class_weights and logit_adjustment need. class_weights: how an image
    counts by its class. smoothing: share of each target that is spread over all classes. logit_adjustment: tau of Menon
    et al. 2020 (arXiv:2007.07314), which adds tau * log(prior) to the logits here only, so that the plain logits favor
    no class for being frequent.

    An image's whole loss has the weight of its class. torch's own `weight` together with `label_smoothing` weights
    the smoothed part by the other classes, which pulls every image towards the rare ones (pytorch#104776).
    """

    def __init__(
        self,
        kind: str = "cross_entropy",
        counts: np.ndarray | None = None,
        class_weights: str = "none",
        smoothing: float = 0.0,
        logit_adjustment: float = 0.0,
    ):
        super().__init__()
        self.focal = kind == "focal"
        self.smoothing = smoothing
        self.register_buffer("weights", None if class_weights == "none" else weights_of_classes(class_weights, counts))
        self.register_buffer("adjustment", logit_adjustment * log_prior(counts) if logit_adjustment else None)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = self._per_image(logits if self.adjustment is None else logits + self.adjustment, targets)
        if self.weights is None:
            return losses.mean()
        weights = (targets * self.weights).sum(dim=1)
        return (losses * weights).sum() / weights.sum()

    def _per_image(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logarithms = logits.log_softmax(dim=1)
        if self.smoothing:
            targets = (1 - self.smoothing) * targets + self.smoothing / targets.shape[1]
        if self.focal:
            targets = targets * (1 - logarithms.exp()) ** FOCAL_GAMMA
        return -(targets * logarithms).sum(dim=1)


def weights_of_classes(kind: str, counts: np.ndarray) -> torch.Tensor:
    """(classes,) float32 weights, 1 on average over the training images; classes without an image have 0.

    `inverse`: 1 / images. `effective`: 1 / effective number of images, (1 - beta^n) / (1 - beta) (Cui et al. 2019).
    """
    effective = counts if kind == "inverse" else (1 - EFFECTIVE_BETA**counts) / (1 - EFFECTIVE_BETA)
    weights = np.divide(1.0, effective, out=np.zeros(len(counts)), where=counts > 0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def log_prior(counts: np.ndarray) -> torch.Tensor:
    """(classes,) float32 logarithms of the classes' shares; a class without an image counts as having one."""
    seen = np.maximum(counts, 1)
    return torch.tensor(np.log(seen / seen.sum()), dtype=torch.float32)


def distillation_loss(logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of the softened probabilities (Hinton et al. 2015, arXiv:1503.02531).

    Both (batch, classes) float32. The factor temperature² keeps the gradients as large as at temperature 1.
    """
    student, teacher = ((raw / temperature).log_softmax(dim=1) for raw in (logits, teacher_logits))
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2
