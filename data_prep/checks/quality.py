"""What single images and the class counts show: the doctor's findings that need no comparison of images.

They come from the facts of one look at each image, which are cached; cleanvision would decode every image again.
"""

import csv
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_prep.checks.checkup import FINE, Checkup, Finding, Proposals, most_common, plural
from data_prep.checks.contact_sheet import Band, Tile
from data_prep.pipeline.card import table
from data_prep.pipeline.dataset_writer import REJECTED_NAME
from data_prep.pipeline.images import BLANK_SPREAD
from data_prep.pipeline.report import kind_of
from data_prep.pipeline.schema import Row
from data_prep.pipeline.splits import SPLITS

EMPTY_SPREAD = 0.5  # of 127.5, standard deviation over the thumbnail: nothing but noise is left
SMALL_SIDE = 32  # pixels: below this a product is hard to tell even for a person
LONG_SIDE = 3.0  # times the other side
THIN_CLASS = 10  # training images; fewer teach a model little
CLASSES_SHOWN = 10
BAR_WIDTH = 40
SIZES_SHOWN = 6
TILES = 24
PLAIN_MODES = ("RGB", "L")
CONTAINERS = {"MPO": "JPEG", "DIB": "BMP"}  # formats that share the extensions of another


# --- single images ---------------------------------------------------------------------------------------------------


def describe_unreadable(checkup: Checkup, proposals: Proposals) -> Finding:
    """Images that cannot be decoded, or that name a file instead of holding one."""
    for row, reason in checkup.unreadable:
        proposals.leave_out(row, f"unreadable: {reason}")
    lines = table(
        ["image", "id", "split", "reason"],
        [(row.file, row.id, row.split, reason) for row, reason in checkup.unreadable[:TILES]],
    )
    count = len(checkup.unreadable)
    return Finding("Unreadable images", plural(count, "image"), "leave out" if count else FINE, lines if count else [])


def describe_left_out(checkup: Checkup) -> Finding:
    """What the preparation rejected: rows without an image, broken files, ..."""
    path = checkup.folder / REJECTED_NAME
    if not path.is_file():
        lines = [f"The dataset has no {REJECTED_NAME}."]
        return Finding("Left out when prepared", "unknown", "prepare the dataset again", lines)
    with open(path, newline="", encoding="utf-8") as stream:
        rejected = [(row["file"], row["reason"]) for row in csv.DictReader(stream)]
    examples: dict[str, str] = {}
    for file, reason in rejected:
        examples.setdefault(kind_of(reason), file)
    counts = Counter(kind_of(reason) for _, reason in rejected)
    lines = table(
        ["reason", "rows", "for example"], [(kind, f"{n:,}", examples[kind]) for kind, n in counts.most_common()]
    )
    advice = f"all of them are in the dataset's {REJECTED_NAME}" if rejected else FINE
    return Finding("Left out when prepared", plural(len(rejected), "row"), advice, lines if rejected else [])


def describe_images(checkup: Checkup, proposals: Proposals) -> Finding:
    """Blank and very small images, misnamed files and unusual modes."""
    for index in np.flatnonzero(checkup.spread < EMPTY_SPREAD):
        proposals.leave_out(checkup.rows[index], "empty image: one flat colour")
    checks = image_checks(checkup)
    rows = [(name, f"{flags.sum():,}", remark) for name, _, flags, remark in checks if flags.any()]
    lines = [
        *(table(["suspicious", "images", "remark"], rows) if rows else [f"None of {', '.join(c[0] for c in checks)}."]),
        "",
        f"Formats: {most_common(checkup.formats, 8)}. Modes: {most_common(checkup.modes, 8)}.",
    ]
    bands = [
        Band(f"{short} {flags.sum():,}", [checkup.tile(index) for index in np.flatnonzero(flags)[:TILES]])
        for _, short, flags, _ in checks
    ]
    count = int(np.logical_or.reduce([flags for _, _, flags, _ in checks]).sum())
    advice = "look at the sheet" if count else FINE
    return Finding("Suspicious files", plural(count, "image"), advice, lines, "suspicious.png", bands)


def image_checks(checkup: Checkup) -> list[tuple[str, str, np.ndarray, str]]:
    """(what, in a word or two, `(n,) bool`, remark) of each check."""
    sizes = checkup.signatures.sizes
    files = zip(checkup.rows, checkup.formats, strict=True)
    odd = [mode for mode in checkup.modes if mode not in PLAIN_MODES]
    return [
        ("nearly uniform", "uniform", checkup.spread < BLANK_SPREAD, "the empty ones are in quarantine.csv"),
        (f"a side under {SMALL_SIDE} pixels", "small", sizes.min(1) < SMALL_SIDE, "hard to tell even for a person"),
        (
            f"one side over {LONG_SIDE:g} times the other",
            "long",
            sizes.max(1) > LONG_SIDE * sizes.min(1),
            "mostly padding once it is square",
        ),
        (
            "extension does not fit the content",
            "misnamed",
            np.array([wrong_extension(row.file, image_format) for row, image_format in files]),
            "harmless: the content decides",
        ),
        (
            f"modes other than {' and '.join(PLAIN_MODES)}",
            "odd mode",
            np.array([mode not in PLAIN_MODES for mode in checkup.modes]),
            most_common(odd, 4) or "–",
        ),
    ]


def wrong_extension(file: str, image_format: str) -> bool:
    """True when the name has an extension, and not one of the format's."""
    extension = os.path.splitext(file)[1].lower()
    named = Image.registered_extensions().get(extension)
    return bool(extension) and CONTAINERS.get(named, named) != CONTAINERS.get(image_format, image_format)


def describe_gray(checkup: Checkup) -> Finding:
    """Images without colour, and what their colour labels say."""
    gray = np.flatnonzero(checkup.gray)
    if not len(gray):
        return Finding("Grayscale images", "0 images", FINE)
    stored = sum(checkup.modes[index] not in ("L", "LA", "1", "I", "I;16") for index in gray)
    lines = [
        f"{len(gray) / len(checkup.rows):.1%} of the images have no colour at all; {stored:,} are stored in colour."
    ]
    color = next((name for name in checkup.rows[0].labels if "colour" in name.lower() or "color" in name.lower()), "")
    advice = "keep, unless the label is about colour"
    order = gray
    if color:
        labels = checkup.labels(color)
        counts = Counter(labels[index] for index in gray)
        lines += [
            "",
            f"Their {color}: {most_common([labels[i] for i in gray], 12)}. The rarest come first on the sheet.",
        ]
        order = sorted(gray, key=lambda index: (counts[labels[index]], index))
    tiles = [checkup.tile(i, checkup.rows[i].labels[color] if color else checkup.rows[i].title) for i in order[:TILES]]
    return Finding("Grayscale images", plural(len(gray), "image"), advice, lines, "grayscale.png", [Band("", tiles)])


def describe_sizes(checkup: Checkup) -> Finding:
    """Sizes and aspect ratios."""
    sizes = checkup.signatures.sizes
    ratio = sizes[:, 0] / sizes[:, 1]
    numbers = [
        ("width", *quantiles(sizes[:, 0], ",.0f")),
        ("height", *quantiles(sizes[:, 1], ",.0f")),
        ("width / height", *quantiles(ratio, ".2f")),
    ]
    lines = table(["", "smallest", "5%", "median", "95%", "largest"], numbers)
    lines += ["", f"Most frequent: {most_common([f'{w}x{h}' for w, h in sizes.tolist()], SIZES_SHOWN)}."]
    distinct = len(np.unique(sizes, axis=0))
    return Finding(
        "Sizes",
        plural(distinct, "size"),
        f"median {np.median(sizes[:, 0]):.0f}x{np.median(sizes[:, 1]):.0f} pixels",
        lines,
    )


def quantiles(values: np.ndarray, form: str) -> list[str]:
    """Smallest, 5%, median, 95%, largest."""
    return [format(value, form) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]


# --- classes ---------------------------------------------------------------------------------------------------------


def describe_classes(checkup: Checkup) -> Finding:
    """Counts and imbalance of each label column, and one image per class."""
    rows = []
    for column in checkup.rows[0].labels:
        counts = train_counts(checkup, column).most_common()
        largest, smallest = counts[0], counts[-1]
        thin = sum(count < THIN_CLASS for _, count in counts)
        ratio = f"{largest[1] / max(1, smallest[1]):,.0f} : 1"
        rows.append(
            (column, len(counts), f"{largest[0]} {largest[1]:,}", f"{smallest[0]} {smallest[1]:,}", ratio, thin)
        )
    header = ["label column", "classes", "largest in train", "smallest", "ratio", f"under {THIN_CLASS}"]
    lines = table(header, rows)
    counts = train_counts(checkup, checkup.column).most_common()
    lines += ["", *bars(counts, checkup.column), *missing_classes(checkup)]
    thin = sum(count < THIN_CLASS for _, count in counts)
    advice = f"{plural(thin, 'class', 'classes')} under {THIN_CLASS} training images; see data_prep.balance"
    if not thin:
        advice = "weights or a sampler in train.py, where it matters"
    tiles = [
        Tile(row.image, (row.labels[checkup.column], f"{count:,}")) for row, count in class_examples(checkup, counts)
    ]
    ratio = f"{counts[0][1] / max(1, counts[-1][1]):,.0f} : 1"
    return Finding(f"Classes of {checkup.column}", ratio, advice, lines, "classes.png", [Band("", tiles)])


def train_counts(checkup: Checkup, column: str) -> Counter:
    """Training images of each class; a class that only other splits have counts 0."""
    counts = Counter(dict.fromkeys(sorted(set(checkup.labels(column))), 0))
    counts.update(row.labels[column] for row in checkup.rows if row.split == "train")
    return counts


def bars(counts: Sequence[tuple[str, int]], column: str) -> list[str]:
    """The largest and the smallest classes as bars of text."""
    shown = (
        list(counts) if len(counts) <= 2 * CLASSES_SHOWN else [*counts[:CLASSES_SHOWN], None, *counts[-CLASSES_SHOWN:]]
    )
    width = max(len(name) for name, _ in filter(None, shown))
    top = max(1, counts[0][1])
    lines = [f"Training images of {column}:", "", "```"]
    for pair in shown:
        if pair is None:
            lines.append(f"{'':{width}}         ({len(counts) - 2 * CLASSES_SHOWN} classes between)")
        else:
            lines.append(f"{pair[0]:{width}} {pair[1]:7,} {'█' * round(BAR_WIDTH * pair[1] / top)}".rstrip())
    return [*lines, "```"]


def missing_classes(checkup: Checkup) -> list[str]:
    """Classes that a split cannot teach or score."""
    present = {
        split: {checkup.rows[index].labels[checkup.column] for index in checkup.indices(split)} for split in SPLITS
    }
    everywhere = set().union(*present.values())
    lines = []
    for split in SPLITS:
        missing = sorted(everywhere - present[split])
        if missing and present[split]:
            more = f" and {len(missing) - CLASSES_SHOWN} more" if len(missing) > CLASSES_SHOWN else ""
            lines += ["", f"Without an image in {split}: {', '.join(missing[:CLASSES_SHOWN])}{more}."]
    return lines


def class_examples(checkup: Checkup, counts: Sequence[tuple[str, int]]) -> list[tuple[Row, int]]:
    """(row, count) of one image per class: the one with the smallest hash, so that nobody chose it."""
    first: dict[str, int] = {}
    for index, row in enumerate(checkup.rows):
        rival = first.setdefault(row.labels[checkup.column], index)
        if checkup.sha256[index] < checkup.sha256[rival]:
            first[row.labels[checkup.column]] = index
    return [(checkup.rows[first[name]], count) for name, count in counts]
