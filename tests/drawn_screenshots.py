"""Prepared datasets of drawn images for the studies, among them one in the schema of data_prep.slash_screenshots."""

from pathlib import Path

from drawn_products import draw_product

from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Options, Row, Source

TILES_PER_PAGE = 2


def prepared(folder: Path, rows: list[tuple[str, str, str, dict]], columns: tuple[str, ...], extra: dict) -> Path:
    """A prepared dataset of drawn images; rows: (label, split, what to draw, extra columns)."""
    folder.mkdir()
    dataset_rows = []
    for number, (label, split, article, extra_columns) in enumerate(rows):
        name = f"{number}.jpg"
        (folder / name).write_bytes(draw_product(article, number))
        image, labels = FileImage(str(folder), name), dict.fromkeys(columns, label)
        dataset_rows.append(Row(name, image, name, name, labels, split, extra=extra_columns))
    # Drawn images of a class look alike, across the splits too.
    source = Source("Drawn", "tests", "cc0-1.0", columns, columns[0], columns[:0], extra, drop_leaks=False)
    write_dataset(dataset_rows, source, Options(output=folder / "prepared"))
    return folder / "prepared"


def draw_screenshots(folder: Path) -> Path:
    """Forty images of two categories, TILES_PER_PAGE on each page, in the schema of data_prep.slash_screenshots."""
    from datasets import Value

    rows = []
    for page in range(20):
        label, article = ("Home", "Jeans") if page % 2 else ("Fashion", "Sports Shoes")
        split = {0: "validation", 1: "validation", 2: "test", 3: "test"}.get(page, "train")
        rows += [(label, split, article, {"page": f"{label}/{page}.jpg"})] * TILES_PER_PAGE
    return prepared(folder / "drawn", rows, ("label",), {"page": Value("string")})
