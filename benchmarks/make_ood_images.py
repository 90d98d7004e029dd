"""Write images of things that are not fashion products, to measure how well a model knows what it does not know.

    python -m benchmarks.make_ood_images --screenshots screenshots --part fit --output runs/others/fit
    python -m benchmarks.make_ood_images --screenshots screenshots --part test --output runs/others/test
    python calibrate.py --model app/models/fashion --dataset data/kaggle_fashion --others runs/others/fit/*
    python -m evaluation.automation --model app/models/fashion --dataset data/kaggle_fashion --others runs/others/test/*

One folder per kind: pages of text, textures, noise and plain colors are drawn; with --screenshots also the bars of a
shopping app's pages (chrome) and its products of categories that no fashion catalog has. The two parts share no
drawing, no screenshot and no product; the pages of a single product are for the first part alone. Takes 3 s; the
screenshots add a minute.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from app.errors import OneLineParser, UserError, one_line_errors
from app.tiles import cut, find_products
from data_prep.slash_screenshots import ends_of, group_cut_off

DRAWN = 60  # images of each drawn kind
TILES = 6  # products of each screenshot, at most
PARTS = {"fit": 0, "test": 1}
FOREIGN = ("Artifacts", "Games", "Home", "Nutrition", "Stationary")
TOP_BAR, BOTTOM_BAR = 0.1, 0.93  # shares of a page's height
WORDS = ("price", "499", "add", "to", "cart", "terms", "delivery", "return", "policy", "in", "stock", "free", "of")


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(prog="python -m benchmarks.make_ood_images", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write; it gets a folder per kind")
    parser.add_argument(
        "--screenshots",
        type=Path,
        help="folder with grid/CATEGORY/*.jpg and single/CATEGORY/*.jpg, a shopping app's pages",
    )
    parser.add_argument("--part", choices=PARTS, default="test", help="every other screenshot, and other drawings")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        if args.screenshots and not (args.screenshots / "grid").is_dir():
            raise UserError(f"--screenshots {args.screenshots} has no folder grid/ with a folder per category")
        part = PARTS[args.part]
        generator = np.random.default_rng(part)
        kinds = {
            "text": (page_of_text(generator) for _ in range(DRAWN)),
            "texture": (texture(generator) for _ in range(DRAWN)),
            "noise": (noise(generator, 128 >> i % 4) for i in range(DRAWN)),
            "plain": (plain(generator) for _ in range(DRAWN)),
        }
        if args.screenshots:
            kinds |= {"chrome": bars(args.screenshots, part), "other_products": tiles(args.screenshots, part)}
        for kind, images in kinds.items():
            write(args.output / kind, images)


def write(folder: Path, images: Iterator[Image.Image]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, image in enumerate(images, start=1):
        image.save(folder / f"{count:03}.png")
    print(f"{folder}: {count} images")


def page_of_text(generator: np.random.Generator) -> Image.Image:
    """Dark on light or the other way round, in any size of page and letters."""
    dark, light = (20, 20, 20), (255, 255, int(generator.integers(225, 256)))
    paper, ink = (light, dark) if generator.random() < 0.8 else (dark, light)
    width, height = (int(side) for side in generator.integers(300, 700, 2))
    page = Image.new("RGB", (width, height), paper)
    draw, y, size = ImageDraw.Draw(page), 20, int(generator.integers(9, 22))
    while y < height - 20:
        draw.text((20, y), " ".join(generator.choice(WORDS, 11)), fill=ink, font_size=size)
        y += int(size * generator.uniform(1.1, 2))
    return page


def texture(generator: np.random.Generator) -> Image.Image:
    """Waves between two colors."""
    y, x = np.mgrid[0:128, 0:128]
    across, down = generator.uniform(0.05, 0.9, 2)
    share = (np.sin(x * across + y * down * generator.integers(0, 3)) + 1)[..., None] / 2
    first, second = generator.integers(0, 256, (2, 3))
    return Image.fromarray((share * first + (1 - share) * second).astype(np.uint8))


def noise(generator: np.random.Generator, grains: int) -> Image.Image:
    return Image.fromarray(generator.integers(0, 256, (grains, grains, 3), dtype=np.uint8)).resize((128, 128))


def plain(generator: np.random.Generator) -> Image.Image:
    """One color, or a run from one to another."""
    first, second = generator.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, 128)[:, None, None] * generator.integers(0, 2)
    pixels = np.broadcast_to((1 - share) * first + share * second, (128, 128, 3))
    return Image.fromarray(pixels.astype(np.uint8)).rotate(90 * int(generator.integers(0, 2)))


def pages(screenshots: Path, part: int, layout: str = "grid") -> Iterator[Image.Image]:
    """layout: "grid" has every other page, "single" all of them."""
    for category in FOREIGN:
        paths = sorted((screenshots / layout / category).glob("*.jpg"))
        for path in paths[part :: len(PARTS)] if layout == "grid" else paths:
            with Image.open(path) as page:
                yield page.convert("RGB")


def bars(screenshots: Path, part: int) -> Iterator[Image.Image]:
    for page in pages(screenshots, part):
        width, height = page.size
        yield page.crop((0, 0, width, int(height * TOP_BAR)))
        yield page.crop((0, int(height * BOTTOM_BAR), width, height))


def tiles(screenshots: Path, part: int) -> Iterator[Image.Image]:
    """Products of the grid pages; for the first part also those of other pages, and none that the other part has."""
    if part == PARTS["test"]:
        yield from products(pages(screenshots, part))
        return
    own = [*products(pages(screenshots, part)), *products(pages(screenshots, part, "single"))]
    images = [*own, *products(pages(screenshots, PARTS["test"]))]
    groups = group_cut_off([ends_of(image) for image in images])
    for image, group in zip(own, groups, strict=False):
        if group not in groups[len(own) :]:
            yield image


def products(screens: Iterator[Image.Image]) -> Iterator[Image.Image]:
    for page in screens:
        yield from (cut(page, tile) for tile in find_products(page).tiles[:TILES])


if __name__ == "__main__":
    main()
