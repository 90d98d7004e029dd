"""What a teacher says to a student: its own logits for the same image, in the student's order of labels."""

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest
import torch
import torch.nn.functional as F

from models.registry import build_model
from training.distillation import Teacher, TeacherError, Teachers
from training.model_card import write_preprocessor

LABELS = ["a", "b", "c"]
MEAN, STD = [0.2, 0.3, 0.4], [0.5, 0.6, 0.7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder whose own normalization and size differ from the student's."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    build_model("basic_cnn", LABELS, image_size=32, from_scratch=True).save_pretrained(folder)
    write_preprocessor(folder, 32, [0.1, 0.2, 0.3], [0.9, 0.8, 0.7])
    return folder


def own_answer(folder, raw: torch.Tensor) -> torch.Tensor:
    """raw: (batch, 3, 32, 32) in [0, 1]."""
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.9, 0.8, 0.7]))
    with torch.inference_mode():
        return model(pixel_values=(raw - mean) / std).logits


def as_the_student_reads(raw: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (raw - mean) / std


def test_a_teacher_answers_as_it_would_alone_in_the_students_order(folder):
    raw = torch.rand(4, 3, 32, 32)
    teacher = Teacher(str(folder), ["c", "a", "b"], MEAN, STD)
    answer = teacher(as_the_student_reads(raw))
    assert torch.allclose(answer, own_answer(folder, raw)[:, [2, 0, 1]], atol=1e-4) and answer.dtype == torch.float32


@pytest.mark.parametrize("side", [64, 20])
def test_images_of_another_size_are_resized_without_aliasing(folder, side):
    raw = torch.rand(2, 3, side, side)
    resized = F.interpolate(raw, (32, 32), mode="bilinear", antialias=True)
    answer = Teacher(str(folder), LABELS, MEAN, STD)(as_the_student_reads(raw))
    assert torch.allclose(answer, own_answer(folder, resized), atol=1e-4)


def test_several_teachers_say_the_mean_of_their_probabilities_also_where_one_rules_a_label_out():
    class Sure(torch.nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, pixels):
            return self.logits + 0 * pixels.sum()

    answer = Teachers([Sure([1000.0, 0.0, 0.0]), Sure([0.0, 1000.0, 0.0])])(torch.zeros(1, 3, 8, 8))
    assert torch.allclose(answer.exp(), torch.tensor([[0.5, 0.5, 0.0]]))
    assert answer.isfinite().all()  # what distillation_loss needs


def test_a_teacher_learns_nothing(folder):
    teacher = Teacher(str(folder), LABELS, MEAN, STD)
    assert not teacher.model.training and not any(part.requires_grad for part in teacher.parameters())
    pixels = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert not teacher(pixels).requires_grad


def test_what_a_teacher_computes_with_moves_with_it_to_another_device(folder):
    buffers = dict(Teacher(str(folder), LABELS, MEAN, STD).named_buffers())
    assert {"order", "scale", "shift"} <= set(buffers)


@pytest.mark.parametrize(
    ("labels", "difference"),
    [
        (["a", "b", "c", "d"], "it lacks 1 (d)"),
        (["a", "b"], "the dataset lacks 1 (c)"),
        (["v", "w", "x", "y"], "it lacks 4 (v, w, x, …) and the dataset lacks 3 (a, b, c)"),
    ],
)
def test_other_labels_are_named(folder, labels, difference):
    with pytest.raises(TeacherError) as caught:
        Teacher(str(folder), labels, MEAN, STD)
    assert str(caught.value) == f"--teacher {folder} has other labels than the dataset: {difference}"


def test_a_folder_without_a_model_is_named_with_the_reason(tmp_path):
    with pytest.raises(TeacherError) as caught:
        Teacher(str(tmp_path / "none"), LABELS, MEAN, STD)
    assert str(caught.value) == (
        f"--teacher {tmp_path / 'none'} is not a model folder with weights: no such folder, nor a model on the Hub"
    )
    with pytest.raises(TeacherError) as caught:
        Teacher(str(tmp_path), LABELS, MEAN, STD)
    message = str(caught.value)
    assert message.startswith(f"--teacher {tmp_path} is not a model folder with weights: ")
    assert "no such folder" not in message and "\n" not in message and len(message) > len(str(tmp_path)) + 60
