"""Eight categories of a shopping app from screenshots: architectures, imbalance, what lifts the score; ships the best.

    python -m data_prep.slash_screenshots --input screenshots/grid screenshots/single --output data/slash
    python -m studies.slash8 --mobilenet DIR                 # all rows, a training each for five folds
    python -m studies.slash8 --dry_run                       # what is to do and how long it takes
    python -m studies.slash8 --only lite0_192 probe_lite0
    python -m studies.slash8 --only vgg16 resnet50           # slow rows, also with --all
    python -m studies.slash8 --report                        # the page alone, from what was run
    python -m studies.slash8 --ship lite0_192                # that recipe on all images, into runs/slash8

Folds keep images of one screenshot and near-duplicates together, since that is how new images come. A row whose
weights are not at hand, or that was not run, is absent from results/slash8.md. Started again, the study goes on.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from studies.common.crossval import pooled_pixels, train_fold
from studies.common.network import Network
from studies.common.units import Unit, fingerprint_of_weights, run_missing
from studies.slash8.data import FOLDS, SlashData, prepare
from studies.slash8.page import write_results
from studies.slash8.rows import PROBES, ROWS, Row
from studies.slash8.ship import ship

RESULTS = Path(__file__).resolve().parents[2] / "results"
SEED = 42
SECONDS_A_PROBE = 40
WEIGHTS = ("mobilenet", "lite0", "lite1", "lite2", "fashion")


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(argv)
    weights = {name: getattr(options, name) for name in WEIGHTS}
    try:
        data = prepare(options.dataset, options.runs, SEED)
        rows = rows_of(options)
        units = [*probe_units(data, weights, options), *training_units(data, weights, rows)]
        wanted = [unit for unit in units if unit.row in (options.only or everyday_rows(options.all))]
        failed = [] if options.report or options.ship else run_missing(wanted, options.runs, options.dry_run)
        if not options.dry_run:
            print(write_results(data, rows, units, options.runs, options.results))
        if options.ship:
            ship(options.ship, rows, data, weights, units, options.runs, options.output)
    except ValueError as error:
        parser.error(str(error))
    if failed:
        sys.exit(f"not all rows could be run: {', '.join(failed)}")


def everyday_rows(slow_too: bool) -> list[str]:
    return [*PROBES, *(row.name for row in ROWS if slow_too or not row.slow)]


def rows_of(options: argparse.Namespace) -> list[Row]:
    """ROWS with what the command line says otherwise."""
    other = {"epochs": options.epochs, "size": options.image_size}
    return [replace(row, **{name: value for name, value in other.items() if value is not None}) for row in ROWS]


def training_units(data: SlashData, weights: dict[str, str], rows: Sequence[Row]) -> list[Unit]:
    """A unit for each fold of each row."""
    units = []
    for row in rows:
        start = row.weights and weights[row.weights]
        arguments = [*row.arguments(start), "--seed", str(SEED)]
        for fold in range(FOLDS):
            made_by = {
                "arguments": row.arguments(row.weights),
                **{"size": row.size, "views": row.views, "folds": FOLDS, "fold": fold, "seed": SEED},
                **{"data": data.fingerprint, "weights": fingerprint_of_weights(start)},
            }
            work = partial(train_fold, arguments, data.pages, row.size, FOLDS, fold, row.views)
            seconds = row.seconds(data.images_a_fold)
            units.append(Unit(row.name, f"fold_{fold}", made_by, seconds, work, weights=start))
    return units


def probe_units(data: SlashData, weights: dict[str, str], options: argparse.Namespace) -> list[Unit]:
    units = []
    for name, (start, size) in PROBES.items():
        size = options.image_size or size
        made_by = {"size": size, "data": data.fingerprint, "weights": fingerprint_of_weights(weights[start])}
        work = partial(embed, weights[start], data.pages, size)
        units.append(Unit(name, "embeddings", made_by, SECONDS_A_PROBE, work, weights=weights[start]))
    return units


def embed(weights: str, dataset: Path, size: int, folder: Path) -> dict[str, np.ndarray]:
    """`embeddings` (2, rows, dim) float32 of all images and their mirror images, in the order of the pool."""
    pixels, network = pooled_pixels(dataset, size), Network(weights)
    return {"embeddings": np.stack([network.embeddings(view) for view in (pixels, pixels[:, :, ::-1])])}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="studies/slash8/study.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [*PROBES, *(row.name for row in ROWS)]
    add = partial(parser.add_argument, metavar="DIR")
    add("--dataset", type=Path, default=Path("data/slash"), help="default: data/slash")
    add("--mobilenet", default="google/mobilenet_v2_1.0_224", help="MobileNetV2's weights; default: from the Hub")
    for name in ("lite0", "lite1", "lite2"):
        add(f"--{name}", default=f"pretrained/efficientnet_{name}", help="default: what models/convert.py wrote")
    add("--fashion", default="runs/fashion", help="weights of the project's fashion model; default: runs/fashion")
    add("--runs", type=Path, default=Path("runs/studies/slash8"), help="where the results of units are kept")
    add("--results", type=Path, default=RESULTS, help="where the page goes; default: results/")
    add("--output", type=Path, default=Path("runs/slash8"), help="of --ship; default: runs/slash8")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=f"some of {', '.join(names)}")
    parser.add_argument("--all", action="store_true", help="the slow rows too, another hour and more")
    parser.add_argument("--dry_run", action="store_true", help="list what is to do, with an estimate of the time")
    parser.add_argument("--report", action="store_true", help="write the page from what was run, train nothing")
    parser.add_argument("--ship", choices=names, metavar="ROW", help="train it on all images")
    parser.add_argument("--epochs", type=int, metavar="N", help="other than the rows say, for a quick try")
    parser.add_argument("--image_size", type=int, metavar="N", help="other than the rows say, for a quick try")
    return parser


if __name__ == "__main__":
    main()
