"""The recipe's options: what each does to images, losses and weights, and how they fail."""

import json
import shutil
from collections import namedtuple
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import TrainerCallback

import train
from training import one_command
from training.augment.batch import AUGMENTATIONS, batch_transforms
from training.augment.mixup import PerSampleErasing, PerSampleMix
from training.augment.phone import background_masks, jpeg
from training.callbacks import FreezeBackbone
from training.cpu_speed import DepthwiseConvolution, depthwise_in_float32
from training.losses import Loss, distillation_loss, weights_of_classes
from training.param_groups import parameter_groups
from training.sampler import BalancedSampler
from training.trainer import ImageTrainer

TINY = [
    "--image_size",
    "32",
    "--per_device_train_batch_size",
    "16",
    "--num_train_epochs",
    "1",
    "--export_onnx",
    "False",
]


def run(dataset: Path, output: Path, *more: str) -> dict:
    """One epoch of the smallest model; the scores that it leaves."""
    label = [] if "--label" in more else ["--label", "articleType"]
    given = ["--dataset", str(dataset), "--output_dir", str(output), "--model", "basic_cnn", *label, *TINY, *more]
    train.main(given)
    return json.loads((output / "all_results.json").read_text())


@pytest.fixture(scope="module")
def base(drawn_dataset, tmp_path_factory) -> Path:
    """A model folder to start from or to learn from."""
    output = tmp_path_factory.mktemp("base") / "base"
    run(drawn_dataset, output, "--from_scratch")
    return output


def batch(count: int = 8, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(count, 3, side, side), F.one_hot(torch.arange(count) % 4, 4).float()


# Losses


def test_the_plain_loss_is_torchs_cross_entropy_with_label_smoothing():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.allclose(Loss(smoothing=0.1)(logits, F.one_hot(labels, 4).float()), expected)


def test_class_weights_without_smoothing_are_torchs_weighted_mean():
    logits, labels, counts = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 0, 1]), np.array([70, 25, 5])
    weights = weights_of_classes("inverse", counts)
    expected = F.cross_entropy(logits, labels, weight=weights)
    loss = Loss(counts=counts, class_weights="inverse")
    assert torch.allclose(loss(logits, F.one_hot(labels, 3).float()), expected)


def test_smoothing_with_class_weights_still_has_its_optimum_at_the_smoothed_target():
    """torch's own has not (pytorch#104776): it moves towards the class with the large weight."""
    target = torch.tensor([[0.95, 0.05]])
    loss = Loss(counts=np.array([99, 1]), class_weights="inverse", smoothing=0.1)
    logits = target.log().requires_grad_()
    loss(logits, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["inverse", "effective"])
def test_rare_classes_weigh_more_and_unseen_ones_nothing(kind):
    counts = np.array([1000, 100, 10, 0])
    weights = weights_of_classes(kind, counts).numpy()
    assert weights[0] < weights[1] < weights[2] and weights[3] == 0
    assert np.isclose((weights * counts).sum() / counts.sum(), 1)


def test_the_effective_number_of_images_is_milder_than_the_number_itself():
    inverse, effective = (weights_of_classes(kind, np.array([50_000, 10])) for kind in ("inverse", "effective"))
    assert effective[1] / effective[0] < inverse[1] / inverse[0]


def test_focal_loss_leaves_less_to_what_is_already_known():
    targets = torch.tensor([[1.0, 0.0]])
    known, unknown = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    plain, focal = Loss(), Loss("focal")
    assert focal(known, targets) / plain(known, targets) < 0.01
    assert torch.allclose(focal(unknown, targets), plain(unknown, targets) / 4)  # (1 - 0.5)²


def test_logit_adjustment_asks_more_of_rare_classes():
    loss = Loss(counts=np.array([90, 10, 0]), logit_adjustment=1.0)
    logits = torch.zeros(1, 3)
    frequent, rare = (loss(logits, torch.eye(3)[[label]]) for label in (0, 1))
    assert rare > frequent and loss(logits, torch.eye(3)[[2]]).isfinite()


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn():
    logits = torch.randn(3, 5)
    assert distillation_loss(logits, logits + 7, 2.0).abs() < 1e-5
    assert distillation_loss(logits, -logits, 2.0) > 0.1


# Images


def test_mixed_labels_have_the_share_of_mixed_images():
    flat = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 16, 16)
    targets = torch.eye(8)
    for mix in (PerSampleMix(0.4, 0), PerSampleMix(0, 1.0), PerSampleMix(0.4, 1.0)):
        torch.manual_seed(1)
        pixels, mixed = mix(flat, targets)
        assert torch.allclose(mixed.sum(dim=1), torch.ones(8))
        # Image i is flat i, so the mean pixel is the mean label id.
        assert torch.allclose(pixels.mean(dim=(1, 2, 3)), mixed @ torch.arange(8.0), atol=1e-4)
        assert (mixed.max(dim=1).values < 1).any()


def test_cutmix_pastes_and_mixup_blends():
    pixels = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)] * 8)
    torch.manual_seed(3)
    assert set(PerSampleMix(0, 1.0)(pixels, torch.eye(16))[0].unique().tolist()) == {0.0, 1.0}
    assert len(PerSampleMix(1.0, 0)(pixels, torch.eye(16))[0].unique()) > 2


def test_random_erasing_changes_a_box_of_a_share_of_the_images():
    pixels = torch.zeros(200, 3, 16, 16)
    torch.manual_seed(0)
    changed = (PerSampleErasing(0.4)(pixels) != 0).any(dim=1).float().mean(dim=(1, 2))
    assert 0.25 < (changed > 0).float().mean() < 0.5
    assert changed.max() <= 0.45


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_every_augmentation_changes_each_image_in_its_own_way_and_stays_in_range(name):
    pixels = (batch(1, 33)[0] * 255).to(torch.uint8).repeat(12, 1, 1, 1)  # 33: no multiple of JPEG's blocks
    training, _ = batch_transforms(name, [0, 0, 0], [1, 1, 1])
    changed = training(pixels)
    assert changed.shape == (12, 3, 33, 33) and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1
    assert len({tuple(one.flatten()[:99].tolist()) for one in changed}) >= 6  # trivial leaves some as they are


def test_the_white_around_a_product_is_background_and_white_within_it_is_not():
    image = torch.ones(1, 3, 32, 32)
    image[:, 0, 8:24, 8:24] = 0.2  # a frame
    image[:, 0, 12:20, 12:20] = 1.0  # white inside it
    mask = background_masks(image)[0, 0]
    assert mask[2, 2] == 1 and mask[29, 16] == 1 and mask[16, 16] == 0


def test_an_image_that_fills_its_frame_has_no_background():
    assert background_masks(torch.full((1, 3, 16, 16), 0.5)).max() == 0


def test_jpeg_at_high_quality_changes_little_and_at_low_quality_much():
    y, x = torch.meshgrid(torch.linspace(0, 3, 40), torch.linspace(0, 3, 40), indexing="ij")
    pixels = torch.stack([x.sin(), y.cos(), (x * y).sin()])[None] / 2 + 0.5
    errors = [(jpeg(pixels, torch.full((1, 1, 1, 1), quality)) - pixels).abs().mean() for quality in (98.0, 20.0)]
    assert errors[0] < 0.01 < errors[1] < 0.1


# Schedules


def test_the_balanced_sampler_draws_classes_equally_and_each_epoch_anew():
    labels = np.repeat([0, 1, 3], [900, 90, 10])  # no image has label 2
    sampler = BalancedSampler(labels, seed=1)
    first = list(sampler)
    shares = np.bincount(labels[first], minlength=4) / len(labels)
    assert np.allclose(shares[[0, 1, 3]], 1 / 3, atol=0.06) and len(first) == 1000
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first and list(BalancedSampler(labels, seed=2)) != first


def test_learning_rates_fall_from_the_head_to_the_stem():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    depths = {name: int(name[0]) for name, _ in model.named_parameters()}
    groups = parameter_groups(model, depths, {"0.weight", "1.weight", "2.weight"}, 1.0, 0.1, 0.5)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (rate, decay) for rate in (1.0, 0.5, 0.25) for decay in (0.1, 0.0)
    ]


class _Backbone(TrainerCallback):
    """Notes at the end of each epoch how far the backbone and the head are from where they began."""

    moved: list[tuple[bool, bool]] = []

    def on_train_begin(self, args, state, control, model, **kwargs) -> None:
        self.start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def on_epoch_end(self, args, state, control, model, **kwargs) -> None:
        changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, self.start[name])}
        head = {name for name in changed if name.startswith("classifier")}
        self.moved.append((bool(changed - head), bool(head)))


def test_a_frozen_backbone_rests_with_its_statistics_until_its_epoch(drawn_dataset, base, tmp_path, monkeypatch):
    watched = partial(one_command.train_model, trainer_class=_with(ImageTrainer, _Backbone()))
    monkeypatch.setattr(one_command, "train_model", watched)
    more = ["--freeze_backbone", "1", "--num_train_epochs", "2", "--load_best_model_at_end", "False"]
    run(drawn_dataset, tmp_path / "run", "--pretrained", str(base), "--layer_decay", "0.7", *more)
    assert _Backbone.moved == [(False, True), (True, True)]


def _with(trainer_class, callback):
    def build(*args, **kwargs):
        trainer = trainer_class(*args, **kwargs)
        trainer.add_callback(callback)
        return trainer

    return build


def test_a_frozen_dropout_is_off_and_the_heads_is_on():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Dropout()))
    freeze = FreezeBackbone(model, model[2], epochs=1)
    freeze.on_epoch_begin(None, namedtuple("State", "epoch")(0), None)
    model.train()
    freeze.keep_in_eval_mode()
    assert (model[0].training, model[2][0].training, model[1].weight.requires_grad) == (False, True, False)
    freeze.on_epoch_begin(None, namedtuple("State", "epoch")(1.0), None)
    model.train()
    freeze.keep_in_eval_mode()
    assert model[0].training and model[1].weight.requires_grad


def test_the_finished_model_is_the_average_and_its_scores_are_the_averages(drawn_dataset, tmp_path):
    scores = run(drawn_dataset, tmp_path / "run", "--from_scratch", "--ema", "0.9")
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    final, average, last = (
        load_file(path)
        for path in (
            tmp_path / "run" / "model.safetensors",
            checkpoint / "ema.safetensors",
            checkpoint / "model.safetensors",
        )
    )
    assert all(torch.equal(final[name], tensor) for name, tensor in average.items())
    assert any(not torch.equal(final[name], last[name]) for name in average)
    logged = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"][-1]
    assert logged["eval_loss"] == pytest.approx(scores["validation_loss"])
    assert not (tmp_path / "run" / "ema.safetensors").exists()


# Starting points and teachers


def test_a_fitted_head_knows_the_training_images_before_the_first_step(drawn_dataset, tmp_path):
    more = ["--from_scratch", "--model", "residual_cnn", "--learning_rate", "1e-9", "--bf16", "False"]
    blank, fitted = (
        run(drawn_dataset, tmp_path / str(fit), *more, "--fit_head", str(fit))["validation_accuracy"]
        for fit in (False, True)
    )
    assert fitted > blank + 0.2


def test_a_fitted_head_is_not_fitted_again_when_a_run_goes_on(drawn_dataset, tmp_path, monkeypatch):
    from training import run as training_run

    more = ["--from_scratch", "--fit_head", "True"]
    first = run(drawn_dataset, tmp_path / "run", *more)
    monkeypatch.setattr(training_run, "fit_head", None)  # a call would fail
    again = run(drawn_dataset, tmp_path / "run", *more, "--resume_from_checkpoint", "True")
    assert again["validation_loss"] == pytest.approx(first["validation_loss"], abs=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (5, 2, 2, 1), (3, 1, 2, 2)])
def test_depthwise_convolutions_in_bfloat16_have_the_gradients_of_float32(kernel, stride, padding, dilation, bias):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(8, 16, kernel, stride, padding, dilation, groups=8, bias=bias)
    pixels = torch.randn(4, 8, 12, 12, requires_grad=True)

    def gradients(autocast, context) -> list[torch.Tensor]:
        with autocast, context:
            loss = layer(pixels).float().square().sum()
        return torch.autograd.grad(loss, [pixels, *layer.parameters()])

    expected = gradients(nullcontext(), nullcontext())
    found = gradients(torch.autocast("cpu", torch.bfloat16), depthwise_in_float32())
    for right, value in zip(expected, found, strict=True):
        assert value.dtype == right.dtype and (value - right).norm() < 0.01 * right.norm()


def test_only_convolutions_with_several_groups_are_computed_anew(monkeypatch):
    seen = []
    monkeypatch.setattr(DepthwiseConvolution, "apply", lambda pixels, *rest: seen.append(rest[-1]) or pixels)
    pixels = torch.zeros(1, 4, 8, 8)
    with depthwise_in_float32():
        for groups in (1, 2, 4):
            torch.nn.Conv2d(4, 4, 3, groups=groups)(pixels)
    assert seen == [2, 4]


def test_a_warm_start_on_other_labels_says_so_in_one_line(drawn_dataset, base, tmp_path, capfd):
    run(drawn_dataset, tmp_path / "run", "--pretrained", str(base), "--label", "gender")
    output = capfd.readouterr()
    assert f"{base} was trained for 4 other labels: the head starts anew for 2" in output.out
    assert "LOAD REPORT" not in output.err


def test_as_many_but_other_labels_also_get_a_new_head(base):
    from models.registry import build_model

    before = load_file(base / "model.safetensors")
    renamed = build_model("basic_cnn", ["a", "b", "c", "d"], 32, str(base), from_scratch=False).state_dict()
    kept = build_model("basic_cnn", ["Jeans", "Shirts", "Sports Shoes", "Tshirts"], 32, str(base), False).state_dict()
    assert not torch.equal(renamed["classifier.weight"], before["classifier.weight"])
    assert torch.equal(kept["classifier.weight"], before["classifier.weight"])


def test_a_student_learns_from_teachers_of_another_architecture_and_size(drawn_dataset, base, tmp_path):
    teacher = shutil.copytree(base, tmp_path / "teacher", ignore=shutil.ignore_patterns("checkpoint-*"))
    small = ["--from_scratch", "--model", "residual_cnn", "--image_size", "48", "--mixup", "0.2"]
    alone = run(drawn_dataset, tmp_path / "alone", *small)
    losses = [alone["validation_loss"]]
    for number, teachers in enumerate(([teacher], [teacher, tmp_path / "alone"])):
        more = ["--teacher", *map(str, teachers), "--distill_weight", "0.9"]
        losses.append(run(drawn_dataset, tmp_path / f"taught{number}", *small, *more)["validation_loss"])
    assert np.isfinite(losses).all() and len(set(losses)) == 3


def test_the_teachers_answers_come_in_the_students_order_of_labels(base):
    from training.distillation import Teacher

    labels = ["Jeans", "Shirts", "Sports Shoes", "Tshirts"]
    pixels = torch.rand(2, 3, 32, 32)
    plain, turned = (Teacher(str(base), names, [0.5] * 3, [0.5] * 3)(pixels) for names in (labels, labels[::-1]))
    assert torch.allclose(plain, turned.flip(1), atol=1e-5)


def test_the_teacher_sees_images_in_its_own_normalization(base):
    from training.distillation import Teacher

    labels = ["Jeans", "Shirts", "Sports Shoes", "Tshirts"]
    raw = torch.rand(2, 3, 32, 32)
    teachers = [Teacher(str(base), labels, [mean] * 3, [std] * 3) for mean, std in ((0.5, 0.5), (0.2, 0.3))]
    answers = [teacher((raw - mean) / std) for teacher, mean, std in zip(teachers, (0.5, 0.2), (0.5, 0.3), strict=True)]
    assert torch.allclose(*answers, atol=1e-4)


# What goes wrong


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_step_rate_and_images(drawn_dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(drawn_dataset, tmp_path / "run", "--from_scratch", "--learning_rate", "1e30", "--warmup_steps", "0")
    assert stopped.value.code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "training stopped: the loss is nan at step 2, with learning rate" in message  # after the progress bar
    assert "no checkpoint yet" in message
    assert "Tshirts " in message or "Jeans " in message


def test_a_full_disk_is_found_before_anything_is_trained(drawn_dataset, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2_000_000, 1_000_000, 1_000_000))
    with pytest.raises(SystemExit) as stopped:
        run(drawn_dataset, tmp_path / "run", "--from_scratch")
    assert stopped.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "has 1 MB left, and the training writes " in message and "--save_total_limit 1" in message


def test_class_weights_with_label_smoothing_are_explained(drawn_dataset, tmp_path, capsys):
    more = ["--class_weights", "effective", "--sampler", "balanced", "--loss", "focal", "--logit_adjustment", "1"]
    assert np.isfinite(run(drawn_dataset, tmp_path / "run", "--from_scratch", *more)["validation_loss"])
    assert "pytorch#104776" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mixup", "-1"], "--mixup must be 0 or more, not -1"),
        (["--random_erasing", "2"], "--random_erasing must be from 0 to 1, not 2"),
        (["--ema", "1"], "--ema must be from 0 to below 1, such as 0.999, not 1"),
        (["--layer_decay", "1.5"], "--layer_decay must be above 0 and at most 1, not 1.5"),
        (["--distill_temperature", "0"], "--distill_temperature must be above 0, not 0"),
        (["--loss", "hinge"], "invalid choice: 'hinge'"),
        (["--freeze_backbone", "1"], "--freeze_backbone would keep random features"),
        (["--teacher", "./nowhere"], "--teacher ./nowhere is not a model folder with weights: no such folder"),
    ],
)
def test_a_wrong_recipe_ends_with_one_line_that_says_what_would_do(drawn_dataset, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        run(drawn_dataset, tmp_path / "run", "--from_scratch", *more)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_teacher_with_other_labels_is_refused_by_their_names(drawn_dataset, base, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(drawn_dataset, tmp_path / "run", "--from_scratch", "--label", "gender", "--teacher", str(base))
    message = capsys.readouterr().err.splitlines()[-1]
    assert "it lacks 2 (Men, Women)" in message and "the dataset lacks 4 (Jeans, Shirts, Sports Shoes, …)" in message
