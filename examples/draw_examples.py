"""Draw the example images: made-up products on white, each named after its label in the shipped model.

    python examples/draw_examples.py

rewrites every image of examples/, byte for byte the same (3 s; it needs Pillow, NumPy and SciPy).
No photograph, font or logo is in them. They are Apache-2.0 like this script; take them as CC0 where that suits better.
A progressive and a rotated JPEG, a WebP and a transparent PNG are among them, to show what predict.py can read.
"""

import argparse
from pathlib import Path

from PIL import Image

import accessories
import clothes
from brushes import Drawing

FOLDER = Path(__file__).resolve().parent
# Each function is named after its label, and its image after the function.
PRODUCTS = (
    clothes.caps, clothes.casual_shoes, clothes.dresses, clothes.flip_flops, clothes.shorts, clothes.socks,
    clothes.ties, clothes.tshirts, accessories.backpacks, accessories.belts, accessories.handbags,
    accessories.lipstick, accessories.nail_polish, accessories.perfume_and_body_mist, accessories.sunglasses,
    accessories.watches,
)  # fmt: skip
SUFFIXES = {"handbags": ".webp", "sunglasses": ".png"}  # the others are .jpg
PROGRESSIVE, ROTATED = "dresses.jpg", "backpacks.jpg"
QUALITY = 88
ORIENTATION_TAG, TURN_CLOCKWISE = 0x0112, 6  # in EXIF


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="draw_examples.py", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER, help="where the images go (default: examples/)")
    output = parser.parse_args(argv).output
    if not output.is_dir():
        parser.error(f"--output {output}: no such folder; make it first")
    for draw in PRODUCTS:
        drawing = Drawing()
        draw(drawing)
        path = output / (draw.__name__ + SUFFIXES.get(draw.__name__, ".jpg"))
        save(drawing, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def save(drawing: Drawing, path: Path) -> None:
    """In the format that the file's name says."""
    image = drawing.transparent_image() if path.suffix == ".png" else drawing.image()
    if path.name == PROGRESSIVE:
        image.save(path, quality=QUALITY, progressive=True)
    elif path.name == ROTATED:
        save_rotated(image, path)
    else:
        image.save(path, quality=QUALITY, optimize=True)


def save_rotated(image: Image.Image, path: Path) -> None:
    """Stored on its side, with the EXIF orientation that says how to set it upright, as phones do."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = TURN_CLOCKWISE
    image.transpose(Image.Transpose.ROTATE_90).save(path, quality=QUALITY, optimize=True, exif=exif)


if __name__ == "__main__":
    main()
