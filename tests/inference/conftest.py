"""A tiny model and an image for each of its labels."""

from pathlib import Path

import pytest

from tests.make_tiny_model import LABELS, save_image, write_calibration, write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """It is sure of everything, so that every answer is ok."""
    return str(write_calibration(write_tiny_model(tmp_path_factory.mktemp("model")), least=0.0))


@pytest.fixture
def images(tmp_path) -> list[str]:
    """One image of each label, in the order of LABELS."""
    return [str(save_image(tmp_path / f"{label}.png", label)) for label in LABELS]


@pytest.fixture
def image_files(tmp_path) -> list[Path]:
    """The same in a folder of their own."""
    return [save_image(tmp_path / "images" / f"{label}.png", label) for label in LABELS]
