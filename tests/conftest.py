"""Fixtures that every test file shares: the optional real data and small images made on the spot."""

import io
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import pytest
from PIL import Image, ImageDraw

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data beside the checkout; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED


TAXONOMY = {
    "Apparel": {"Topwear": ["Tshirts", "Shirts"], "Bottomwear": ["Jeans"]},
    "Footwear": {"Shoes": ["Sports Shoes"]},
}
COLORS = {"Tshirts": "crimson", "Shirts": "royalblue", "Jeans": "navy", "Sports Shoes": "seagreen"}


def draw_product(article: str, seed: int) -> bytes:
    """A JPEG of 60×80 in which the article's colour and shape say what it is, a little different for each seed."""
    left, top = 8 + seed % 7, 10 + seed % 5
    image = Image.new("RGB", (60, 80), "white")
    shape = ImageDraw.Draw(image)
    box = (left, top, left + 36, top + 50)
    if article == "Sports Shoes":
        shape.ellipse(box, fill=COLORS[article])
    else:
        shape.rectangle(box, fill=COLORS[article])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80 + seed % 15)
    return buffer.getvalue()


def catalog_rows(folder: Path, split: str, seeds: range) -> list:
    """Rows in the schema of data_prep.kaggle_fashion, one image of each article type for each seed."""
    from data_prep.pipeline.images import FileImage
    from data_prep.pipeline.schema import Row

    rows = []
    for master, families in TAXONOMY.items():
        for sub, articles in families.items():
            for article, seed in [(article, seed) for article in articles for seed in seeds]:
                key, gender = f"{article} {seed}", "Men" if seed % 2 else "Women"
                (folder / f"{key}.jpg").write_bytes(draw_product(article, seed))
                names = {"masterCategory": master, "subCategory": sub, "articleType": article, "gender": gender}
                rows.append(Row(f"{key}.jpg", FileImage(str(folder), f"{key}.jpg"), key, key, names, split))
    return rows


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
def trained(drawn_dataset, tmp_path_factory) -> Path:
    """The model folder that train.py leaves after three epochs on the drawn images."""
    import train

    output = tmp_path_factory.mktemp("runs") / "drawn"
    given = ["--model", "mobilenet_v2", "--from_scratch", "--dataset", str(drawn_dataset), "--label", "articleType"]
    more = ["--image_size", "32", "--num_train_epochs", "3", "--per_device_train_batch_size", "16"]
    train.main([*given, *more, "--output_dir", str(output)])
    return output
