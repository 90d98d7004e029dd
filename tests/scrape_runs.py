"""Runs of data_prep.scrape against the server of tests/scrape_server.py, and what they left."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import scrape


def image(seed: int = 0, size: tuple[int, int] = (64, 48), form: str = "PNG", **options) -> bytes:
    """An image of coarse noise, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size).save(stream, form, **options)
    return stream.getvalue()


def run(output: Path, *options: str, private: bool = True) -> None:
    """The command, quick and allowed on localhost."""
    quick = ["--delay", "0", "--retries", "1", "--allow_private"] if private else ["--delay", "0.005", "--retries", "0"]
    scrape.main(["--output", str(output), *quick, *options])


def run_list(output: Path, urls: list[str], *options: str, private: bool = True) -> None:
    """The command on a list of addresses, label "shoes"; it may take nothing."""
    listing = output.parent / "urls.txt"
    listing.write_text("\n".join(urls))
    try:
        run(output, "--urls", str(listing), "--label", "shoes", *options, private=private)
    except SystemExit as stop:
        if stop.code != 1:
            raise


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def reasons(output: Path) -> dict[str, str]:
    """Path or whole address -> reason."""
    return {"/" + row["file"].split("/", 3)[-1]: row["reason"] for row in rows(output / "rejected.csv")}


def saved(output: Path) -> list[str]:
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.suffix[1:2].isalpha())


def images(output: Path) -> list[str]:
    """In the folders of classes; what a killed run was writing lies in a hidden one, and is half."""
    return [name for name in saved(output) if name.count("/") and not name.startswith(".")]
