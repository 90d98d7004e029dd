"""Small archives in the layout of Kaggle's fashion data, and what data_prep.kaggle_fashion answers."""

import zipfile
from pathlib import Path

import pytest
from drawings import draw, encode

from data_prep import kaggle_fashion

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


def image(seed: int, mode: str = "RGB") -> bytes:
    return encode(draw(seed, mode=mode))


def line(product: int, title: str = "", kind: str = "Tshirts", year: str = "2012", usage: str = "Casual") -> str:
    parents = {"Tshirts": "Apparel,Topwear", "Watches": "Accessories,Watches", "Heels": "Footwear,Shoes"}[kind]
    return f"{product},Men,{parents},{kind},Blue,Summer,{year},{usage},{title or f'Product {product}'}"


def write_archive(
    path: Path, lines: list[str], images: dict[str, bytes], prefix: str = "", header: str = HEADER
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(prefix + "styles.csv", "\n".join([header, *lines]))
        for name, data in images.items():
            archive.writestr(f"{prefix}images/{name}", data)
    return path


def simple_archive(path: Path, count: int = 30, prefix: str = "") -> Path:
    """`count` products of three kinds in two years."""
    kinds = ("Tshirts", "Watches", "Heels")
    lines = [line(number, kind=kinds[number % 3], year=str(2011 + number % 2)) for number in range(1, count + 1)]
    return write_archive(path, lines, {f"{number}.jpg": image(number) for number in range(1, count + 1)}, prefix)


def fail(capsys, *arguments: str) -> str:
    """The message of a run that must end with code 2 or 1, and without a traceback."""
    with pytest.raises(SystemExit) as stop:
        kaggle_fashion.main([*arguments])
    assert stop.value.code in (1, 2)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("python -m data_prep.kaggle_fashion: error: ")
    return message
