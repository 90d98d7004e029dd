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

import argparse
import csv
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_prep.pipeline.build import check_output, write_dataset
from data_prep.pipeline.command import add_common_arguments, clear_errors, options_from, print_summary
from data_prep.pipeline.images import ZipImage, file_key, open_archive, read_zip_member
from data_prep.pipeline.kaggle_download import download_archive
from data_prep.pipeline.schema import Options, Report, Row, Source

DATASET = "paramaggarwal/fashion-product-images-small"
LEVELS = ("masterCategory", "subCategory", "articleType")
LABEL_COLUMNS = ("articleType", "subCategory", "masterCategory", "gender", "baseColour", "season", "usage")
OTHER_COLUMNS = ("id", "year", "productDisplayName")
MAX_TABLE_BYTES = 200_000_000
NOT_STATED = "NA"  # the data's own word; empty cells get it too
ID_PATTERN = "[0-9]{1,18}"


def main(argv: list[str] | None = None) -> None:
    """Check the command line, get the archive, write the dataset, say what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.kaggle_fashion", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_common_arguments(parser, "data/kaggle_fashion")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="zip in Kaggle's layout instead of the download")
    parser.add_argument("--split_by", choices=["random", "year"], default="random", help="year: even train, odd test")
    parser.add_argument("--most_frequent", type=int, metavar="N", help="keep the N most frequent article types only")
    args = parser.parse_args(argv)
    with clear_errors(parser):
        if args.most_frequent is not None and args.most_frequent < 2:
            raise ValueError(
                f"--most_frequent {args.most_frequent} must be at least 2; leave it away to keep all types"
            )
        options = options_from(args, "data_prep.kaggle_fashion", argv)
        check_output(options)
        archive = args.archive or download_archive(DATASET, args.output.parent)
        print_summary(prepare(archive, args.split_by, args.most_frequent, options))


def prepare(archive: Path, split_by: str, most_frequent: int | None, options: Options) -> Report:
    """Write the dataset of an archive in Kaggle's layout; of the article types only the most frequent, if so wished."""
    table, images, notes = find_members(archive)
    notes += [
        f"An empty cell of a label column became the class {NOT_STATED}.",
        f"Splits by {'year: even years train, odd years test' if split_by == 'year' else 'seeded draw of groups'}.",
    ]
    source = Source(
        name="Fashion Product Images (Small)",
        origin=f"https://www.kaggle.com/datasets/{DATASET}",
        license="mit",
        label_columns=LABEL_COLUMNS,
        stratify_by="articleType",
        levels=LEVELS,
        notes=notes,
    )
    rows = read_rows(archive, table, images, split_by)
    if most_frequent:
        notes.append(f"Only the {most_frequent} article types with the most products.")
        rows = keep_most_frequent(rows, most_frequent)
    return write_dataset(rows, source, options)


def find_members(archive: Path) -> tuple[str, dict[str, str], list[str]]:
    """The name of styles.csv, `{file name: member}` of images/ beside it, and remarks for the card.

    Kaggle's own zip holds everything twice, once below `myntradataset/`: the copy nearest to the top is read.
    """
    if not archive.is_file():
        raise ValueError(f"no archive {archive}; give a zip file, or leave --archive away to download it from Kaggle")
    try:
        members = [
            info.filename for info in open_archive(str(archive), file_key(str(archive))).infolist() if not info.is_dir()
        ]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} is not a complete zip file ({error}); download it again") from error
    tables = [name for name in members if name.split("/")[-1] == "styles.csv"]
    if not tables:
        raise ValueError(f"{archive} has no styles.csv; is it the archive of kaggle.com/datasets/{DATASET}?")
    table = min(tables, key=lambda name: (name.count("/"), name))
    folder = table.removesuffix("styles.csv") + "images/"
    images = {name.removeprefix(folder): name for name in members if name.startswith(folder)}
    notes = [f"The archive holds the data {len(tables)} times; {table} was read."] if len(tables) > 1 else []
    return table, images, notes


def read_rows(archive: Path, table: str, images: Mapping[str, str], split_by: str) -> Iterator[Row]:
    """One row a line of the table or image without one, in the order of the product numbers."""
    products = {}
    for name, member in images.items():
        match = re.fullmatch(rf"({ID_PATTERN})\.jpg", name)
        if match:
            products[match[1]] = member
        else:
            yield Row(file=member, reject="file name is not a product number with .jpg")
    lines = list(parse_table(read_zip_member(str(archive), table, MAX_TABLE_BYTES), table))
    known = {cells.get("id") for cells in lines}
    for product in sorted(products.keys() - known):
        yield Row(file=products[product], reject="no line in styles.csv")
    for cells in sorted(lines, key=lambda cells: cells.get("id", "").zfill(18)):
        yield make_row(cells, products, str(archive), split_by)


def keep_most_frequent(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """Reject the rows of all but the `count` article types with the most rows (ties: the first in the alphabet)."""
    rows = list(rows)
    found = Counter(row.labels["articleType"] for row in rows if not row.reject)
    kept = sorted(found, key=lambda name: (-found[name], name))[:count]
    for row in rows:
        if not row.reject and row.labels["articleType"] not in kept:
            row.reject = f"rarer article type: {row.labels['articleType']}"
        yield row


def parse_table(data: bytes, name: str) -> Iterator[dict[str, str]]:
    """Cells of each line by column; `{"problem": ..., "line": ...}` for a line that is no product.

    The last column, the title, holds unquoted commas in the original: whatever follows the ninth comma belongs to it.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    lines = re.split("\r\n|\r|\n", text)  # splitlines would also break titles at exotic separators
    header = [cell.strip() for cell in lines[0].split(",")]
    missing = [column for column in LABEL_COLUMNS + OTHER_COLUMNS if column not in header]
    if missing:
        raise ValueError(
            f"{name} lacks the columns {', '.join(missing)}; found: {', '.join(header)[:500] or 'nothing'}"
        )
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            cells = parse_line(line, header)
            yield {"problem": cells, "line": f"{name}:{number}"} if isinstance(cells, str) else cells


def parse_line(line: str, header: list[str]) -> dict[str, str] | str:
    """Cells by column, or what is wrong with the line."""
    try:
        cells = next(csv.reader([line]))
    except csv.Error as error:
        return f"not a line of a CSV file: {error}"
    if len(cells) > len(header):
        cells = line.split(",", len(header) - 1)
    if len(cells) < len(header):
        return f"too few cells in the line: {len(cells)} instead of {len(header)}"
    # interned: forty thousand rows share a few hundred class names
    named = {column: sys.intern(cell.strip()) for column, cell in zip(header, cells, strict=True)}
    if not re.fullmatch(ID_PATTERN, named["id"]):
        return f"id is not a number: {named['id'][:40]!r}"
    return named


def make_row(cells: Mapping[str, str], products: Mapping[str, str], archive: str, split_by: str) -> Row:
    """The row of one line of the table."""
    if "problem" in cells:
        return Row(file=cells["line"], reject=cells["problem"])
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
        if cells["year"].isdecimal():
            row.split = "train" if int(cells["year"]) % 2 == 0 else "test"
        else:
            row.reject = "no year, which --split_by year needs"
    return row


if __name__ == "__main__":
    main()
