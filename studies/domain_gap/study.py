"""Clean images against real ones: how much a model loses from one source to another, and what closes the gap.

    python -m data_prep.image_folder --input clothing --output data/clothing
    python -m data_prep.fashion_mnist --output data/fashion_mnist
    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python -m studies.domain_gap --lite0 DIR --fashion runs/fashion
    python -m studies.domain_gap --dry_run                  # what is to do and how long it takes
    python -m studies.domain_gap --only kaggle clothing joint
    python -m studies.domain_gap --report                   # the page alone, from what was run
    python -m studies.domain_gap --ship runs/shipped/fashion  # the fashion model to ship, from two of the rows

The page is results/domain_gap.md. Started again, the study goes on; rows that were not run are absent.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from studies.common.crossval import PROTOCOL, logged, run_training
from studies.common.network import Network, softmax
from studies.common.units import Missing, Unit, fingerprint_of_weights, run_missing
from studies.domain_gap.adaptation import adapt
from studies.domain_gap.batch_norm import adapted_logits
from studies.domain_gap.clustering import sort_images
from studies.domain_gap.coarse_labels import train_jointly
from studies.domain_gap.common_labels import in_common
from studies.domain_gap.data import Source, few_images, fingerprints, open_source
from studies.domain_gap.page import write_results
from studies.domain_gap.rows import CATALOG_IMAGES, KEPT_MODELS, PHOTO_REPEATS, ROWS, SEED, SHIPPED, Row
from studies.domain_gap.ship import ship_average

RESULTS = Path(__file__).resolve().parents[2] / "results"
PHOTOS = "clothing"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    prepared = {name: getattr(options, name) for name in ("fashion_mnist", "kaggle", "clothing")}
    try:
        sources = {name: open_source(name, folder, options.runs) for name, folder in prepared.items()}
        rows = rows_of(options)
        units = all_units(rows, sources, options)
        wanted = [unit for unit in units if not options.only or unit.row in options.only]
        failed = [] if options.report or options.ship else run_missing(wanted, options.runs, options.dry_run)
        if options.ship:
            ship(units, sources[PHOTOS], options, sys.argv[1:] if argv is None else argv)
        elif not options.dry_run:
            print(write_results(sources, rows, units, options.runs, options.results))
    except ValueError as error:
        parser.error(str(error))
    if failed:
        sys.exit(f"not all rows could be run: {', '.join(failed)}")


def rows_of(options: argparse.Namespace) -> list[Row]:
    """ROWS with what the command line says otherwise."""
    return [
        replace(row, steps=min(row.steps, options.steps or row.steps), size=options.image_size or row.size)
        for row in ROWS
    ]


def all_units(rows: Sequence[Row], sources: dict[str, Source], options: argparse.Namespace) -> list[Unit]:
    """A unit a row; a row that starts from another's model, which comes before it, finds it through `units`."""
    units: dict[str, Unit] = {}
    weights = {"imagenet": options.lite0, "lite2": options.lite2, "fashion": options.fashion}
    for row in rows:
        earlier = units[row.start] if row.start in KEPT_MODELS else None
        start = str(earlier.model_folder(options.runs)) if earlier else row.start and weights[row.start]
        made_by = {
            "arguments": row.arguments(row.start),
            "source": row.source,
            "data": fingerprints(sources.values()),
            "start": earlier.key if earlier else fingerprint_of_weights(start),
        }
        if row.source == "clusters":
            made_by["features"] = fingerprint_of_weights(options.lite2)
        work = partial(answer, row, start, sources, options)
        keep, needed = row.name in KEPT_MODELS, None if earlier else start
        units[row.name] = Unit(row.name, "answers", made_by, row.seconds(), work, keep, needed)
    return list(units.values())


def answer(
    row: Row, start: str | None, sources: dict[str, Source], options: argparse.Namespace, folder: Path
) -> dict[str, np.ndarray]:
    """For each source (rows, common classes) float32 sums of probabilities on its scored images.

    `clothing_adapted` are those on photos with test-time BatchNorm.
    """
    trained = fit(row, start, sources, options, folder)
    network = Network(trained)
    answers = {
        name: sums(network.logits(source.scored_pixels(row.size)), network.labels) for name, source in sources.items()
    }
    if row.adapted:
        photos = sources[PHOTOS].scored_pixels(row.size)
        answers[f"{PHOTOS}_adapted"] = sums(adapted_logits(network, photos), network.labels)
    return answers


def ship(units: Sequence[Unit], photos: Source, options: argparse.Namespace, argv: list[str]) -> None:
    command = shlex.join(["python", "studies/domain_gap/study.py", *argv])
    by_row = {unit.row: unit for unit in units}
    folders = [by_row[row].model_folder(options.runs) for row in SHIPPED]
    ship_average(folders, options.share, options.kaggle, photos, command, options.ship)


def sums(logits: np.ndarray, labels: list[str]) -> np.ndarray:
    return in_common(softmax(logits), labels).astype(np.float32)


def fit(
    row: Row, start: str | None, sources: dict[str, Source], options: argparse.Namespace, folder: Path
) -> Path | str:
    """Train a row's model; gives its folder. Raises Missing where it starts from an earlier row that was not run."""
    if row.start in KEPT_MODELS and not Path(start).is_dir():
        raise Missing(f"it starts from the model of another row; run the row {row.start} first")
    if row.source is None:
        return start
    if row.source == "unlabelled":
        photos = sources[PHOTOS]
        adapt(Path(start), photos.pixels("train", row.size), np.unique(photos.truth).tolist(), row.steps, SEED, folder)
        return folder
    if row.source == "clusters":
        catalog = few_images(sources["kaggle"], CATALOG_IMAGES, options.runs, SEED)
        sort_images(Path(start), options.lite2, catalog, sources[PHOTOS], row.size, folder)
        return folder
    arguments = [*row.arguments(start), *PROTOCOL]
    if row.source == "joint":
        catalog = ["--dataset", str(options.kaggle), "--label", "articleType"]
        coarse = [sources["clothing"], sources["fashion_mnist"]]
        command = f"python -m studies.domain_gap --only {row.name}"
        with logged(folder):
            train_jointly([*arguments, *catalog], coarse, PHOTO_REPEATS, row.name in KEPT_MODELS, command, folder)
        return folder
    few = row.source.startswith("few_")
    count = int(row.source.removeprefix("few_")) if few else 0
    dataset = few_images(sources[PHOTOS], count, options.runs, SEED) if few else sources[row.source].folder
    run_training([*arguments, "--dataset", str(dataset), "--output_dir", str(folder)], folder)
    return folder


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="studies/domain_gap/study.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = partial(parser.add_argument, metavar="DIR")
    add("--kaggle", type=Path, default=Path("data/kaggle_fashion"), help="default: data/kaggle_fashion")
    add("--clothing", type=Path, default=Path("data/clothing"), help="people's own photos; default: data/clothing")
    add("--fashion_mnist", type=Path, default=Path("data/fashion_mnist"), help="default: data/fashion_mnist")
    add(
        "--lite0",
        default="pretrained/efficientnet_lite0",
        help="ImageNet weights; default: what models/convert.py wrote",
    )
    add("--lite2", default="pretrained/efficientnet_lite2", help="the same of a larger network, EfficientNet-Lite2")
    add("--fashion", default="runs/fashion", help="the project's fashion model; default: runs/fashion")
    add("--runs", type=Path, default=Path("runs/studies/domain_gap"), help="where the results of units are kept")
    add("--results", type=Path, default=RESULTS, help="where the page goes; default: results/")
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=f"some of {', '.join(names)}")
    parser.add_argument("--dry_run", action="store_true", help="list what is to do, with an estimate of the time")
    parser.add_argument("--report", action="store_true", help="write the page from what was run, train nothing")
    add("--ship", type=Path, help=f"write the average of {' and '.join(SHIPPED)}, for shipping")
    parser.add_argument("--share", type=float, default=0.65, help=f"of {SHIPPED[0]} in --ship; default: 0.65")
    parser.add_argument("--steps", type=int, metavar="N", help="at most so many a training, for a quick try")
    parser.add_argument("--image_size", type=int, metavar="N", help="other than the rows say, for a quick try")
    return parser


if __name__ == "__main__":
    main()
