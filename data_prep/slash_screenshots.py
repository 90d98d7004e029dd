"""Prepare screenshots of a shopping app: every product image on them cut out, one folder of pages a category.

python -m data_prep.slash_screenshots --input screenshots --output data/slash
python -m data_prep.slash_screenshots --input slash/grid slash/single --output data/slash --export_boxes boxes.json

Grid pages (two columns of tiles) and pages with a single image may be mixed; which one a page is, is detected. The
same product on several pages is kept once, where most of it is seen. What is left out, such as tiles that the edge of
a page cuts off, is listed in rejected.csv. Cut-outs are JPEG files of quality 95, since a part of a JPEG cannot be kept
as it is.
"""

import argparse
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from app.images import ImageError, load_image
from app.tiles import MIN_VISIBLE, Page, Tile, cut, find_products
from data_prep.pipeline.build import check_output, write_dataset
from data_prep.pipeline.command import add_common_arguments, clear_errors, options_from, print_summary
from data_prep.pipeline.duplicates import ImageSignature, group_images, join_equal
from data_prep.pipeline.facts import obey_parent
from data_prep.pipeline.images import FileImage, ImageFacts, describe
from data_prep.pipeline.schema import Options, Report, Row, Source

QUALITY = 95
CUT_SUFFIX = ".tile.jpg"
END_SHARE = 0.5  # of the width
MIN_SPREAD = 25  # levels; the end of an image on plain white has less
FEW_PAGES = 8  # below this a pool takes longer to start than the work
SUFFIXES = {".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(slots=True, frozen=True)
class TileImage:
    """One product image of a screenshot, cut out each time it is read."""

    root: str
    name: str
    tile: Tile

    def read(self) -> bytes:
        """JPEG bytes, the same each time. Raises ValueError or OSError as FileImage does."""
        buffer = io.BytesIO()
        cut(open_page(self.root, self.name), self.tile).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        return buffer.getvalue()

    def key(self) -> str:
        return f"{FileImage(self.root, self.name).key()}|{self.tile}|{QUALITY}"


@dataclass(slots=True, frozen=True)
class Found:
    """A page with what the upper and the lower end of each of its tiles look like."""

    page: Page
    ends: list[tuple[ImageFacts, ImageFacts]]


def main(argv: list[str] | None = None) -> None:
    """Check the command line, find the products, write the dataset and the boxes, say what was done."""
    parser = make_parser()
    args = parser.parse_args(argv)
    with clear_errors(parser):
        options = options_from(args, "data_prep.slash_screenshots", argv)
        check_output(options)
        names = [(str(root), name) for root in args.input for name in find_pages(root)]
        found = find_all(names, options.num_proc)
        pages = [one if isinstance(one, str) else one.page for one in found]
        rows = list(make_rows(names, pages, args.keep_partial))
        join_cut_off(rows, [ends for one in found if not isinstance(one, str) for ends in one.ends])
        report = prepare(rows, args.input, pages, options)
        if args.export_boxes:
            write_boxes(args.export_boxes, rows)
        print_summary(report)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.slash_screenshots",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add_common_arguments(parser, "data/slash")
    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, metavar="DIR", help="folders with one folder a category"
    )
    parser.add_argument(
        "--keep_partial",
        type=share,
        nargs="?",
        const=MIN_VISIBLE,
        default=MIN_VISIBLE,
        metavar="SHARE",
        help=f"keep a tile that the page's edge cuts off if so much of its height is seen (default: {MIN_VISIBLE})",
    )
    parser.add_argument("--export_boxes", type=Path, metavar="FILE", help="write the boxes found, in pixels, as JSON")
    return parser


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def find_pages(root: Path) -> list[str]:
    """`category/file` of every screenshot below `root`, sorted. Raises ValueError when there is none."""
    if not root.is_dir():
        raise ValueError(f"no folder {root}; --input takes folders that hold one folder a category")
    files = sorted(path for path in root.glob("*/*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise ValueError(f"{root} has no folder with screenshots; expected {root}/CATEGORY/page.jpg")
    return [path.relative_to(root).as_posix() for path in files]


def find_all(names: Sequence[tuple[str, str]], num_proc: int) -> list[Found | str]:
    """What is on each page, in order; for a page that cannot be read, why."""
    with tqdm(total=len(names), desc="finding products", unit="page", disable=None) as progress:
        found = []
        for page in found_in_processes(names, num_proc):
            found.append(page)
            progress.update()
    return found


def found_in_processes(names: Sequence[tuple[str, str]], num_proc: int) -> Iterator[Found | str]:
    """The same, one by one, in `num_proc` processes where that pays."""
    if num_proc <= 1 or len(names) < FEW_PAGES:
        yield from map(find_on_page, names)
        return
    pool = ProcessPoolExecutor(num_proc, mp_context=get_context("spawn"), initializer=obey_parent)
    try:
        yield from pool.map(find_on_page, names, chunksize=2)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def find_on_page(name: tuple[str, str]) -> "Found | str":
    """The products of one page, cut-off ones included, or why the page cannot be read."""
    if Path(name[1]).suffix.lower() not in SUFFIXES:
        return "not a screenshot: its name ends with none of " + ", ".join(sorted(SUFFIXES))
    try:
        page = open_page(*name)
        found = find_products(page, min_visible=0)
        return Found(found, [ends_of(cut(page, tile)) for tile in found.tiles])
    except PermissionError:
        return "no permission to read it"
    except (ValueError, OSError) as error:
        return str(error)


@lru_cache(maxsize=1)  # the tiles of a page are cut one after the other
def open_page(root: str, name: str) -> Image.Image:
    """A screenshot as upright RGB. Raises ValueError with the reason, OSError when it is not there."""
    try:
        return load_image(FileImage(root, name).read())
    except ImageError as error:
        raise ValueError(str(error)) from error


def make_rows(names: Sequence[tuple[str, str]], pages: Sequence[Page | str], min_visible: float) -> Iterator[Row]:
    """One row a tile; one with a reason for a page that gives none."""
    for (root, name), page in zip(names, pages, strict=True):
        if isinstance(page, str):
            yield Row(name, reject=f"unreadable page: {page}")
        elif not page.tiles:
            yield Row(name, reject="no product image on the page")
        else:
            for number, tile in enumerate(page.tiles, start=1):
                yield make_row(root, name, page.kind, number, tile, min_visible)


def make_row(root: str, name: str, kind: str, number: int, tile: Tile, min_visible: float) -> Row:
    """The row of one tile."""
    stem, extension = os.path.splitext(name)
    identity = f"{stem}-{number}"
    if tile.visible < min_visible:
        return Row(
            f"{identity}{CUT_SUFFIX}", reject=f"cut off by the edge of the page: {tile.visible:.0%} of it is seen"
        )
    return Row(
        file=f"{identity}{CUT_SUFFIX}",
        image=TileImage(root, name, tile),
        id=identity,
        title=f"{stem.split('/')[-1]}{extension}, image {number}",
        labels={"label": name.split("/")[0]},
        extra={"out_of_stock": tile.out_of_stock, "page": name, "kind": kind, "box": list(tile.box)},
    )


def ends_of(image: Image.Image) -> tuple[ImageFacts, ImageFacts]:
    """What the upper and the lower end of an image look like, each END_SHARE of its width high."""
    width, height = image.size
    end = min(height, round(END_SHARE * width))
    boxes = ((0, 0, width, end), (0, height - end, width, height))
    return tuple(describe(image.crop(box), b"") for box in boxes)


def join_cut_off(rows: Sequence[Row], ends: Sequence[tuple[ImageFacts, ImageFacts]]) -> None:
    """Give tiles that share an upper or a lower end one group: the same product, cut off at different heights.

    rows: all rows; those of pages without a tile come without ends. Ends of one colour tell nothing and join nothing.
    """
    tiles = [row for row in rows if row.file.endswith(CUT_SUFFIX)]
    columns = []
    for side in (0, 1):
        telling = [index for index, both in enumerate(ends) if both[side].spread >= MIN_SPREAD]
        signatures = ImageSignature.of((ends[index][side] for index in telling), at_most=len(telling))
        numbers = np.arange(len(tiles)) + len(tiles)  # each its own group
        numbers[telling] = group_images([b"%d" % index for index in telling], signatures)
        columns.append(numbers)
    groups = join_equal(columns, len(tiles))
    first: dict[int, str] = {}
    for row, group in zip(tiles, groups.tolist(), strict=True):
        row.group = first.setdefault(group, row.file)


def prepare(rows: Sequence[Row], inputs: Sequence[Path], pages: Sequence[Page | str], options: Options) -> Report:
    """Write the dataset of the tiles."""
    from datasets import List, Value  # takes a second that --help need not wait for

    kinds = ["unreadable" if isinstance(page, str) else page.kind for page in pages]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("grid", "single", "other", "unreadable"))
    stamped = sum(bool(row.extra.get("out_of_stock")) for row in rows)
    source = Source(
        name="Screenshots of a shopping app",
        origin=", ".join(root.name for root in inputs),
        license="unknown",
        features={"out_of_stock": Value("bool"), "page": Value("string"), "kind": Value("string")}
        | {"box": List(Value("int32"), length=4)},
        merge_duplicates=True,
        notes=[f"Pages: {counts}.", f"{stamped} images bear an OUT OF STOCK stamp (column out_of_stock)."],
    )
    return write_dataset(rows, source, options)


def write_boxes(path: Path, rows: Sequence[Row]) -> None:
    """`{"Home/home_1a2b.jpg": [{"box": [x, y, width, height]}, …]}` of all kept tiles, duplicates included."""
    boxes: dict[str, list[dict]] = {}
    for row in rows:
        if not row.reject:
            boxes.setdefault(row.extra["page"], []).append({"box": row.extra["box"]})
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(boxes, indent=1), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
