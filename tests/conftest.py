"""Fixtures that every test file shares: the optional real data and small pictures made on the spot."""

import io
from pathlib import Path

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
COLOURS = {"Tshirts": "crimson", "Shirts": "royalblue", "Jeans": "navy", "Sports Shoes": "seagreen"}


def draw_product(article: str, seed: int) -> bytes:
    """A JPEG of 60×80 in which the article's colour and shape say what it is, a little different for each seed."""
    left, top = 8 + seed % 7, 10 + seed % 5
    image = Image.new("RGB", (60, 80), "white")
    shape = ImageDraw.Draw(image)
    box = (left, top, left + 36, top + 50)
    if article == "Sports Shoes":
        shape.ellipse(box, fill=COLOURS[article])
    else:
        shape.rectangle(box, fill=COLOURS[article])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80 + seed % 15)
    return buffer.getvalue()


def catalogue_rows(count: int, seed: int = 0) -> list[dict]:
    """Rows in the schema of data_prep.kaggle_fashion, `count` of each article type."""
    rows = []
    for master, families in TAXONOMY.items():
        for sub, articles in families.items():
            for article in articles:
                for i in range(count):
                    key = f"{article}-{seed + i}"
                    picture = {"bytes": draw_product(article, seed + i), "path": f"{key}.jpg"}
                    names = {"masterCategory": master, "subCategory": sub, "articleType": article}
                    gender = "Men" if i % 2 else "Women"
                    rows.append({"image": picture, "id": key, "title": key, "group": key, "gender": gender, **names})
    return rows


@pytest.fixture(scope="session")
def drawn_dataset(tmp_path_factory) -> Path:
    """A prepared dataset of drawn pictures with a taxonomy, small enough to train on in seconds."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
    from datasets import Image as ImageFeature

    splits = {"train": catalogue_rows(16), "validation": catalogue_rows(4, seed=16), "test": catalogue_rows(4, seed=20)}
    columns = ("masterCategory", "subCategory", "articleType", "gender")
    names = {column: sorted({row[column] for row in splits["train"]}) for column in columns}
    text = {column: Value("string") for column in ("id", "title", "group")}
    features = Features({"image": ImageFeature(), **text, **{c: ClassLabel(names=names[c]) for c in columns}})
    folder = tmp_path_factory.mktemp("prepared") / "drawn"
    DatasetDict({name: Dataset.from_list(rows, features=features) for name, rows in splits.items()}).save_to_disk(
        folder
    )
    return folder
