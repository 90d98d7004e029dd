"""Prepare the Kaggle data "Fashion Product Images (Small)": seven label columns, duplicate-safe splits.

python -m data_prep.kaggle_fashion --output data/kaggle_fashion
python -m data_prep.kaggle_fashion --output data/kaggle_fashion --archive fashion-product-images-small.zip
python -m data_prep.kaggle_fashion --output data/kaggle_fashion_year --archive FILE.zip --split_by year

39,612 images took 15 s and 378 MiB over all processes on 2 cores (19 s of processor time) and gave 31,682 for training,
3,977 for validation and 3,953 for testing. No title, no file and no duplicate group is on two sides.

--split_by year is the published harder protocol: products of even years train (a tenth of them, by group, validates),
products of odd years test. A duplicate group with products of both kinds of years stays whole in test; its even-year
images are left out and listed in rejected.csv. A product without a year is left out too. --most_frequent 20 keeps the
20 article types with the most products, as that protocol does:

python -m data_prep.kaggle_fashion --output data/kaggle_year --archive FILE.zip --split_by year --most_frequent 20
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from app.errors import UserError
from app.images import ImageError
from app.text_encoding import guess_encoding, is_utf8
from app.zip_archive import ZipError, open_zip
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.command import dataset_command, dataset_parser
from data_prep.pipeline.file_names import WHOLE_NUMBER
from data_prep.pipeline.images import ZipImage
from data_prep.pipeline.kaggle_download import download_archive
from data_prep.pipeline.report import print_summary
from data_prep.pipeline.schema import NOT_STATED, Options, Report, Row, Source
from data_prep.pipeline.tables import Line

DATASET = "paramaggarwal/fashion-product-images-small"
LEVELS = ("masterCategory", "subCategory", "articleType")
LABEL_COLUMNS = ("articleType", "subCategory", "masterCategory", "gender", "baseColour", "season", "usage")
OTHER_COLUMNS = ("id", "year", "productDisplayName")
MAX_TABLE_BYTES = 200_000_000
ID_PATTERN = "[0-9]{1,18}"


def main(argv: list[str] | None = None) -> None:
    """Check the command line, get the archive, write the dataset, say what was done."""
    parser = dataset_parser("data_prep.kaggle_fashion", __doc__, "data/kaggle_fashion")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="zip in Kaggle's layout instead of the download")
    parser.add_argument("--split_by", choices=["random", "year"], default="random", help="year: even train, odd test")
    parser.add_argument("--most_frequent", type=int, metavar="N", help="keep the N most frequent article types only")
    with dataset_command(parser, argv) as (args, options):
        if args.most_frequent is not None and args.most_frequent < 2:
            raise UserError(f"--most_frequent {args.most_frequent} must be at least 2; omit it to keep all types")
        archive = args.archive or download_archive(DATASET, args.output.parent)
        print_summary(prepare(archive, args.split_by, args.most_frequent, options))


def prepare(archive: Path, split_by: str, most_frequent: int | None, options: Options) -> Report:
    """Write the dataset of an archive in Kaggle's layout, with all article types or only the most frequent ones."""
    table, images, copies = find_members(archive)
    rows = read_rows(archive, table, images, split_by)
    notes = [f"The archive holds the data {copies} times; {table} was read."] if copies > 1 else []
    notes += [
        f"An empty cell of a label column became the class {NOT_STATED}.",
        f"Splits by {'year: even years train, odd years test' if split_by == 'year' else 'seeded draw of groups'}.",
    ]
    if most_frequent:
        notes.append(f"Only the {most_frequent} article types with the most products.")
        rows = keep_most_frequent(rows, most_frequent)
    source = Source(
        name="Fashion Product Images (Small)",
        origin=f"https://www.kaggle.com/datasets/{DATASET}",
        license="mit",
        label_columns=LABEL_COLUMNS,
        stratify_by="articleType",
        levels=LEVELS,
        notes=notes,
    )
    return write_dataset(rows, source, options)


def find_members(archive: Path) -> tuple[str, dict[str, str], int]:
    """The name of styles.csv, `{file name: member}` of images/ beside it, and how often the archive holds the data.

    Kaggle's own zip holds everything twice, once below `myntradataset/`: the copy nearest to the top is read.
    """
    if not archive.is_file():
        raise UserError(f"no archive {archive}; give a zip file, or omit --archive to download it from Kaggle")
    try:
        members = [member.filename for member in open_zip(archive).members]
    except ZipError as error:
        raise UserError(f"{archive} is not a complete zip file ({error}); download it again") from error
    tables = [name for name in members if name.split("/")[-1] == "styles.csv"]
    if not tables:
        raise UserError(f"{archive} has no styles.csv; is it the archive of kaggle.com/datasets/{DATASET}?")
    table = min(tables, key=lambda name: (name.count("/"), name))
    folder = table.removesuffix("styles.csv") + "images/"
    return table, {name.removeprefix(folder): name for name in members if name.startswith(folder)}, len(tables)


def read_rows(archive: Path, table: str, images: Mapping[str, str], split_by: str) -> Iterator[Row]:
    """One row per line of the table or image without one, in the order of the product numbers."""
    products = {}
    for name, member in images.items():
        match = re.fullmatch(rf"({ID_PATTERN})\.jpg", name)
        if match:
            products[match[1]] = member
        else:
            yield Row(file=member, reject="file name is not a product number with .jpg")
    try:
        lines = list(parse_table(open_zip(archive).read(table, MAX_TABLE_BYTES), table))
    except ImageError as error:
        raise UserError(f"{table} in {archive} cannot be read: {error}") from error
    known = {line.cells.get("id") for line in lines}
    for product in sorted(products.keys() - known):
        yield Row(file=products[product], reject="no line in styles.csv")
    for line in sorted(lines, key=lambda line: line.cells.get("id", "").zfill(18)):
        if line.problem:
            yield Row(file=f"{table}:{line.number}", reject=line.problem)
        else:
            yield make_row(line.cells, products, str(archive), split_by)


def keep_most_frequent(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """Reject the rows of all but the `count` article types with the most rows (ties: the first in the alphabet)."""
    rows = list(rows)
    counts = Counter(row.labels["articleType"] for row in rows if not row.reject)
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:count]
    for row in rows:
        if not row.reject and row.labels["articleType"] not in kept:
            row.reject = f"rarer article type: {row.labels['articleType']}"
        yield row


def parse_table(data: bytes, name: str) -> Iterator[Line]:
    """The lines below the header.

    The last column, the title, holds unquoted commas in the original: whatever follows the ninth comma belongs to it.
    """
    text = data.decode("utf-8-sig" if is_utf8(data) else guess_encoding(data), errors="replace")
    lines = re.split("\r\n|\r|\n", text)  # splitlines would also break titles at exotic separators
    header = [cell.strip() for cell in lines[0].split(",")]
    missing = [column for column in LABEL_COLUMNS + OTHER_COLUMNS if column not in header]
    if missing:
        raise UserError(f"{name} lacks the columns {', '.join(missing)}; found: {', '.join(header)[:500] or 'nothing'}")
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            yield parse_line(line, number, header)


def parse_line(text: str, number: int, header: list[str]) -> Line:
    """Cells by column, or what is wrong with the line."""
    try:
        cells = next(csv.reader([text]))
    except csv.Error as error:
        return Line(number, problem=f"not a line of a CSV file: {error}")
    if len(cells) > len(header):
        cells = text.split(",", len(header) - 1)
    if len(cells) < len(header):
        return Line(number, problem=f"too few cells in the line: {len(cells)} instead of {len(header)}")
    # interned: forty thousand rows share a few hundred class names
    line = Line(number, {column: sys.intern(cell.strip()) for column, cell in zip(header, cells, strict=True)})
    for column in ("id", "year"):
        line.cells[column] = without_fraction(line.cells[column])
    if not re.fullmatch(ID_PATTERN, line.cells["id"]):
        return Line(number, problem=f"id is not a number: {line.cells['id'][:40]!r}")
    return line


def without_fraction(number: str) -> str:
    """2012 for 2012.0: pandas makes floats of a column in which a cell is empty."""
    match = WHOLE_NUMBER.fullmatch(number)
    return match[1] if match else number


def make_row(cells: Mapping[str, str], products: Mapping[str, str], archive: str, split_by: str) -> Row:
    """The row of one product."""
    product = cells["id"]
    if product not in products:
        return Row(file=f"images/{product}.jpg", reject="no image in the archive")
    row = Row(
        file=products[product],
        image=ZipImage(archive, products[product]),
        id=product,
        title=cells["productDisplayName"],
        labels={column: cells[column] or NOT_STATED for column in LABEL_COLUMNS},
    )
    if split_by == "year":
        if re.fullmatch("[0-9]{1,9}", cells["year"]):
            row.split = "train" if int(cells["year"]) % 2 == 0 else "test"
        else:
            row.reject = "no year, which --split_by year needs"
    return row


if __name__ == "__main__":
    main()
