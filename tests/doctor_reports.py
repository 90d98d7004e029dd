"""Small prepared datasets for the tests of data_prep.doctor, and its reports about them."""

import csv
import hashlib
import io
from pathlib import Path

from PIL import Image

from data_prep import doctor
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Options, Row, Source
from tests.drawings import drawing, fill

SOURCE = Source(name="Drawn", origin="made by the tests", license="apache-2.0", drop_leaks=False)


def encode(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def draw_image(seed: int, mode: str = "RGB", size: tuple[int, int] = (60, 80)) -> Image.Image:
    return Image.open(io.BytesIO(drawing(seed, "PNG", size))).convert(mode)


def prepare(folder: Path, files: dict[str, tuple[bytes, str, str]], titles: dict[str, str] | None = None) -> Path:
    """A dataset of {file: (bytes, label, split)}; the id of a row is its file."""
    fill(folder / "files", {name: data for name, (data, _, _) in files.items()})
    rows = [
        Row(name, FileImage(str(folder / "files"), name), name, (titles or {}).get(name, ""), {"label": label}, split)
        for name, (_, label, split) in files.items()
    ]
    output = folder / "prepared"
    write_dataset(rows, SOURCE, Options(output=output, command="python -m data_prep.drawn --output data/drawn"))
    return output


def examine(dataset: Path, *more: str) -> tuple[str, dict[str, dict], dict[str, dict]]:
    """(report, quarantined, relabelled) of a run of the doctor; the last two by id."""
    output = dataset.with_name("report")
    doctor.main([str(dataset), "--output", str(output), "--num_proc", "1", "--overwrite", *more])
    tables = []
    for name in ("quarantine.csv", "relabel.csv"):
        with open(output / name, newline="", encoding="utf-8") as stream:
            tables.append({line["id"]: line for line in csv.DictReader(stream)})
    return (output / "report.md").read_text(encoding="utf-8"), *tables


def summary_of(report: str) -> dict[str, str]:
    """{finding: what was found} of the table on top, which shows what needs attention."""
    cells = [line.split(" | ") for line in report.splitlines() if line.startswith("| [")]
    return {first[3:].split("]")[0]: found for first, found, _ in cells}


def in_order(report: str) -> str:
    """The line that names the findings without a problem."""
    return next(line for line in report.splitlines() if line.startswith("In order: "))


def content_of(folder: Path) -> dict[str, str]:
    """{file: hash} of everything in a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
