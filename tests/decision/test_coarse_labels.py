"""A label above the leaves: what it may mean, and that it teaches the sum over its leaves."""

import models.torchvision_cpu  # noqa: F401  before transformers

import torch
import torch.nn.functional as F
from datasets import ClassLabel, Features

from training.coarse_labels import coarse_labels, likely_targets
from training.losses import Loss

TAXONOMY = {
    "levels": ["department", "kind"],
    "paths": {"Apple": ["Food", "Apple"], "Bread": ["Food", "Bread"], "Rake": ["Garden", "Rake"]},
}
FEATURES = Features(
    {"department": ClassLabel(names=["Food", "Garden"]), "kind": ClassLabel(names=["Apple", "Bread", "Rake"])}
)


def test_the_finest_known_level_says_which_leaves_a_label_may_mean():
    labels, departments = torch.tensor([1, -1, -1]), torch.tensor([[0], [0], [-1]])
    members = coarse_labels(TAXONOMY, FEATURES).members(labels, departments)
    assert members.tolist() == [[False, True, False], [True, True, False], [True, True, True]]


def test_a_leaf_label_is_its_own_target():
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    assert torch.equal(likely_targets(logits, torch.tensor([[0, 1, 0]])), torch.tensor([[0.0, 1.0, 0.0]]))


def test_a_coarse_label_teaches_the_sum_of_its_leaves():
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]], requires_grad=True)
    members = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    (taught,) = torch.autograd.grad(Loss()(logits, likely_targets(logits, members)), logits)
    (summed,) = torch.autograd.grad(-(logits.softmax(1) * members).sum(1).log().mean(), logits)
    assert torch.allclose(taught, summed, atol=1e-6)


def test_with_leaf_labels_alone_the_loss_is_cross_entropy():
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
    leaf = torch.tensor([0, 2])
    loss = Loss(smoothing=0.1)(logits, likely_targets(logits, F.one_hot(leaf, 3)))
    assert torch.allclose(loss, F.cross_entropy(logits, leaf, label_smoothing=0.1))
