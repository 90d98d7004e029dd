"""Fixtures that every test file shares: the optional real data and small images made on the spot."""

from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest
from drawn_products import catalog_rows

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data beside the checkout; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def drawn_dataset(tmp_path_factory) -> Path:
    """A prepared dataset of drawn images with a taxonomy, small enough to train on in seconds."""
    from data_prep.pipeline.build import write_dataset
    from data_prep.pipeline.schema import Options, Source

    folder = tmp_path_factory.mktemp("drawn")
    splits = {"train": range(16), "validation": range(16, 20), "test": range(20, 24)}
    rows = [row for split, seeds in splits.items() for row in catalog_rows(folder, split, seeds)]
    levels = ("masterCategory", "subCategory", "articleType")
    columns = ("articleType", "subCategory", "masterCategory", "gender")
    # The images of a class look alike, across the splits too: such leaks are reported but stay.
    source = Source("Drawn", "tests", "cc0-1.0", columns, "articleType", levels, drop_leaks=False)
    write_dataset(rows, source, Options(output=folder / "drawn"))
    return folder / "drawn"


@pytest.fixture(scope="session")
def striped_dataset(tmp_path_factory) -> Path:
    """A prepared dataset in which an image's color is its category, and an attribute says whether it has stripes."""
    from attributed import write_striped_dataset

    return write_striped_dataset(tmp_path_factory.mktemp("striped"))


@pytest.fixture(scope="session")
def attributed(striped_dataset, tmp_path_factory) -> Path:
    """A model folder that says the attributes of striped_dataset beside the category."""
    from attributed import write_attributed_model

    return write_attributed_model(tmp_path_factory.mktemp("attributed") / "striped", striped_dataset)


@pytest.fixture(scope="session")
def trained(drawn_dataset, tmp_path_factory) -> Path:
    """The model folder that train.py leaves after three epochs on the drawn images."""
    import train

    output = tmp_path_factory.mktemp("runs") / "drawn"
    given = ["--model", "mobilenet_v2", "--from_scratch", "--dataset", str(drawn_dataset), "--label", "articleType"]
    more = ["--image_size", "32", "--num_train_epochs", "3", "--per_device_train_batch_size", "16"]
    train.main([*given, *more, "--output_dir", str(output), "--scorecard", "False"])
    return output
