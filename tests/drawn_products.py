"""Drawn products whose colour and shape say which article they are, and rows of them for a prepared dataset."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Row

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
    rows = []
    for master, families in TAXONOMY.items():
        for sub, articles in families.items():
            for article, seed in [(article, seed) for article in articles for seed in seeds]:
                key, gender = f"{article} {seed}", "Men" if seed % 2 else "Women"
                (folder / f"{key}.jpg").write_bytes(draw_product(article, seed))
                names = {"masterCategory": master, "subCategory": sub, "articleType": article, "gender": gender}
                rows.append(Row(f"{key}.jpg", FileImage(str(folder), f"{key}.jpg"), key, key, names, split))
    return rows
