"""Prepare screenshots of a shopping app: every product image on them cut out, one folder of pages per category.

python -m data_prep.slash_screenshots --input screenshots --output data/slash
python -m data_prep.slash_screenshots --input slash/grid slash/single --output data/slash --export_boxes boxes.json

Grid pages (two columns of tiles) and pages with a single image may be mixed: the layout of each page is detected. The
same product on several pages is kept once, where most of it is seen. What is left out, such as tiles that the edge of
a page cuts off, is listed in rejected.csv. Cut-outs are JPEG files of quality 95, since part of a JPEG cannot be kept
as it is.
"""

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from app.errors import UserError
from app.files import write_json
from app.images import load_image
from app.tiles import MIN_VISIBLE, Tile, cut, find_products
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.command import dataset_command, dataset_parser
from data_prep.pipeline.copies import Copies
from data_prep.pipeline.duplicates import ImageSignature, group_images, join_equal
from data_prep.pipeline.images import ImageFacts, ImageReference, describe, read_problem
from data_prep.pipeline.processes import map_in_processes
from data_prep.pipeline.report import print_summary
from data_prep.pipeline.schema import Options, Report, Row, Source
from data_prep.pipeline.trees import open_tree

QUALITY = 95
END_SHARE = 0.5  # of the width
MIN_SPREAD = 25  # levels; the end of an image on plain white has less
FEW_PAGES = 8  # below this a pool takes longer to start than the work
PAGES_PER_TASK = 2


@dataclass(slots=True, frozen=True)
class Screenshot:
    """A page `category/file` with its tiles, cut-off ones included.

    ends: what the upper and the lower end of each tile look like. problem: why the page cannot be read.
    """

    image: ImageReference
    name: str
    kind: str = "unreadable"
    tiles: Sequence[Tile] = ()
    ends: Sequence[tuple[ImageFacts, ImageFacts]] = ()
    problem: str = ""


@dataclass(slots=True, frozen=True)
class TileImage:
    """One product image of a screenshot, cut out each time it is read."""

    page: ImageReference
    tile: Tile

    def read(self) -> bytes:
        """JPEG bytes, the same each time. Raises UserError or OSError as FileImage does."""
        buffer = io.BytesIO()
        cut(open_page(self.page), self.tile).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        return buffer.getvalue()

    def key(self) -> str:
        return f"{self.page.key()}|{self.tile}|{QUALITY}"


def main(argv: list[str] | None = None) -> None:
    """Check the command line, find the products, write the dataset and the boxes, say what was done."""
    parser = make_parser()
    with dataset_command(parser, argv) as (args, options), Copies(options.output) as copies:
        places = [place for root in args.input for place in find_pages(root, copies)]
        screenshots = map_in_processes(find_on_page, places, options.num_proc, FEW_PAGES, PAGES_PER_TASK)
        pages = list(tqdm(screenshots, "finding products", len(places), unit="page", disable=None))
        rows = list(make_rows(pages, args.keep_partial))
        report = prepare(rows, args.input, pages, options)
        if args.export_boxes:
            write_json(args.export_boxes, boxes_of(rows))
        print_summary(report)


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = dataset_parser("data_prep.slash_screenshots", __doc__, "data/slash")
    parser.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders or archives with one folder per category",
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


def find_pages(root: Path, copies: Copies) -> list[tuple[ImageReference, str]]:
    """Every screenshot below `root` with its name `category/file`, sorted. Raises UserError when there is none."""
    tree = open_tree(root, copies)
    if tree is None:
        raise UserError(f"{root} is not a folder or an archive with one folder per category")
    pages = [(tree.image(name), name) for name in sorted(tree.listing().files) if name.count("/") == 1]
    if not pages:
        raise UserError(f"{root} has no folder with screenshots; expected {root}/CATEGORY/page.jpg")
    return pages


def find_on_page(place: tuple[ImageReference, str]) -> Screenshot:
    """The products of one page."""
    reference, name = place
    try:
        image = open_page(reference)
        page = find_products(image, min_visible=0)
        return Screenshot(reference, name, page.kind, page.tiles, [ends_of(cut(image, tile)) for tile in page.tiles])
    except (UserError, OSError) as error:
        return Screenshot(reference, name, problem=read_problem(error))


@lru_cache(maxsize=1)  # the tiles of a page are cut one after the other
def open_page(page: ImageReference) -> Image.Image:
    """A screenshot as upright RGB. Raises UserError with the reason, or OSError."""
    return load_image(page.read())


def make_rows(pages: Sequence[Screenshot], min_visible: float) -> Iterator[Row]:
    """One row per tile, and one with a reason for each page that gives none."""
    groups = iter(group_cut_off([ends for page in pages for ends in page.ends]))
    for page in pages:
        if page.problem:
            yield Row(page.name, reject=f"unreadable page: {page.problem}")
        elif not page.tiles:
            yield Row(page.name, reject="no product image on the page")
        for number, tile in enumerate(page.tiles, start=1):
            yield make_row(page, number, tile, next(groups), min_visible)


def make_row(page: Screenshot, number: int, tile: Tile, group: str, min_visible: float) -> Row:
    """The row of one tile."""
    stem, extension = os.path.splitext(page.name)
    identity = f"{stem}-{number}"
    file = f"{identity}.tile.jpg"
    if tile.visible < min_visible:
        return Row(file, reject=f"cut off by the edge of the page: {tile.visible:.0%} of it is seen")
    return Row(
        file=file,
        image=TileImage(page.image, tile),
        id=identity,
        title=f"{stem.split('/')[-1]}{extension}, image {number}",
        labels={"label": page.name.split("/")[0]},
        group=group,
        extra={"out_of_stock": tile.out_of_stock, "page": page.name, "kind": page.kind, "box": list(tile.box)},
    )


def ends_of(image: Image.Image) -> tuple[ImageFacts, ImageFacts]:
    """What the upper and the lower end of an image look like, each END_SHARE of its width high."""
    width, height = image.size
    end = min(height, round(END_SHARE * width))
    boxes = ((0, 0, width, end), (0, height - end, width, height))
    return tuple(describe(image.crop(box), b"") for box in boxes)


def group_cut_off(ends: Sequence[tuple[ImageFacts, ImageFacts]]) -> list[str]:
    """The group of each tile, equal for tiles that share an upper or a lower end: one product, cut off differently.

    Ends of one color tell nothing and join nothing.
    """
    columns = []
    for side in (0, 1):
        telling = [index for index, both in enumerate(ends) if both[side].spread >= MIN_SPREAD]
        signatures = ImageSignature.of((ends[index][side] for index in telling), at_most=len(telling))
        numbers = np.arange(len(ends)) + len(ends)  # a group of its own
        numbers[telling] = group_images([b"%d" % index for index in telling], signatures)
        columns.append(numbers)
    return [f"product {number}" for number in join_equal(columns, len(ends)).tolist()]


def prepare(rows: Sequence[Row], inputs: Sequence[Path], pages: Sequence[Screenshot], options: Options) -> Report:
    """Write the dataset of the tiles."""
    from datasets import List, Value  # takes a second, which --help need not wait for

    kinds = [page.kind for page in pages]
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


def boxes_of(rows: Sequence[Row]) -> dict[str, list[dict]]:
    """`{"Home/home_1a2b.jpg": [{"box": [x, y, width, height]}, …]}` of all kept tiles, duplicates included."""
    boxes: dict[str, list[dict]] = {}
    for row in rows:
        if not row.reject:
            boxes.setdefault(row.extra["page"], []).append({"box": row.extra["box"]})
    return boxes


if __name__ == "__main__":
    main()
