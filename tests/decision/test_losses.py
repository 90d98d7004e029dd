"""What a training step minimizes, to the last factor: computed here a second time, by hand."""

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch

from training.losses import Loss, distillation_loss, log_prior, weights_of_classes

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
COUNTS = np.array([60, 30, 10])


def logarithms(logits: torch.Tensor) -> np.ndarray:
    values = logits.double().numpy()
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def test_the_loss_is_the_mean_cross_entropy():
    expected = -(TARGETS.numpy() * logarithms(LOGITS)).sum(axis=1).mean()
    assert Loss()(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_spreads_its_share_evenly_over_the_classes():
    smoothed = 0.9 * TARGETS.numpy() + 0.1 / 3
    expected = -(smoothed * logarithms(LOGITS)).sum(axis=1).mean()
    assert Loss(smoothing=0.1)(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_has_the_square_of_what_is_missing_to_certainty():
    values = logarithms(LOGITS)
    expected = -(TARGETS.numpy() * (1 - np.exp(values)) ** 2 * values).sum(axis=1).mean()
    assert Loss("focal")(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_an_image_counts_by_the_weights_of_its_classes():
    weights = weights_of_classes("inverse", COUNTS).numpy()
    of_images = TARGETS.numpy() @ weights
    losses = -(TARGETS.numpy() * logarithms(LOGITS)).sum(axis=1)
    expected = (losses * of_images).sum() / of_images.sum()
    assert Loss(counts=COUNTS, class_weights="inverse")(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_logit_adjustment_adds_tau_times_the_logarithm_of_the_prior():
    adjusted = LOGITS + 1.5 * torch.log(torch.tensor([0.6, 0.3, 0.1]))
    expected = -(TARGETS.numpy() * logarithms(adjusted)).sum(axis=1).mean()
    assert Loss(counts=COUNTS, logit_adjustment=1.5)(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_what_is_not_asked_for_changes_nothing():
    plain = Loss("cross_entropy", COUNTS)
    assert plain.weights is None and plain.adjustment is None
    assert plain(LOGITS, TARGETS).item() == Loss()(LOGITS, TARGETS).item()


def test_the_weights_move_with_the_loss_to_another_device_and_are_saved_with_it():
    loss = Loss(counts=COUNTS, class_weights="effective", logit_adjustment=1.0)
    assert set(loss.state_dict()) == {"weights", "adjustment"}
    assert loss.weights.dtype == loss.adjustment.dtype == torch.float32


def test_inverse_weights_are_one_over_the_images_and_one_on_average():
    assert weights_of_classes("inverse", COUNTS).tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert weights_of_classes("inverse", np.array([5, 0, 5])).tolist() == pytest.approx([1, 0, 1])
    assert weights_of_classes("inverse", np.array([1, 3])).tolist() == pytest.approx([2, 2 / 3])


def test_effective_weights_are_one_over_the_effective_number_of_images():
    counts = np.array([9000, 900])
    effective = (1 - 0.9999**counts) / (1 - 0.9999)
    weights = 9900 / effective / (counts / effective).sum()
    assert weights_of_classes("effective", counts).tolist() == pytest.approx(weights.tolist(), rel=1e-6)


def test_a_class_without_an_image_has_the_prior_of_one_image():
    assert log_prior(np.array([8, 0, 1])).tolist() == pytest.approx(np.log([0.8, 0.1, 0.1]).tolist())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_distillation_is_the_divergence_of_the_softened_answers_times_the_square_of_the_temperature(temperature):
    teacher = torch.tensor([[0.0, 3.0, 1.0], [1.0, -1.0, 0.5]])
    of_student, of_teacher = logarithms(LOGITS / temperature), logarithms(teacher / temperature)
    divergence = (np.exp(of_teacher) * (of_teacher - of_student)).sum(axis=1).mean()
    loss = distillation_loss(LOGITS, teacher, temperature).item()
    assert loss == pytest.approx(divergence * temperature**2, rel=1e-5)


def test_gradients_of_distillation_stay_as_large_at_a_high_temperature():
    """Without the factor temperature² they would be 100 times smaller at temperature 10."""
    sizes = []
    for temperature in (50.0, 100.0):
        logits = LOGITS.clone().requires_grad_()
        distillation_loss(logits, -LOGITS, temperature).backward()
        sizes.append(logits.grad.norm().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
