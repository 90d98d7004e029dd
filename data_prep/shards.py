"""Write a prepared dataset as Parquet shards, from which `train.py --streaming` trains without a copy of the data.

python -m data_prep.shards --dataset data/kaggle_fashion --output shards/fashion
"""

import shutil
from pathlib import Path

from datasets import load_from_disk

from app.errors import UserError, one_line_errors
from data_prep.pipeline.card import CARD_NAME, read_card
from data_prep.pipeline.command import command_parser
from data_prep.pipeline.folders import new_folder
from data_prep.pipeline.hub_card import write_hub_card

ROWS_PER_SHARD = 10_000
ROWS_PER_GROUP = 500


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("data_prep.shards", __doc__)
    parser.add_argument("--dataset", required=True, type=Path, metavar="DIR", help="prepared dataset")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write the shards to")
    parser.add_argument("--rows", type=int, default=ROWS_PER_SHARD, help=f"per shard; default: {ROWS_PER_SHARD}")
    options = parser.parse_args(argv)
    with one_line_errors(parser):
        if options.rows < 1:
            raise UserError(f"--rows {options.rows} must be at least 1")
        read_card(options.dataset)
        write_shards(options.dataset, options.output, options.rows)


def refusal(what: str) -> str:
    return (
        f"{what} without the bytes of an image are refused: reading them would fetch whatever file or address they "
        "name; embed the images, as `python -m data_prep.shards` does"
    )


def write_shards(dataset: Path, output: Path, rows: int) -> None:
    """Shards of so many rows and the card. Raises UserError if the output exists or a row has no image."""
    if output.exists():
        raise UserError(f"{output} exists; choose another --output")
    with new_folder(output) as folder:
        splits = load_from_disk(str(dataset))
        for name, split in splits.items():
            empty = sum(chunk.field("bytes").null_count for chunk in split.data.column("image").chunks)
            if empty:
                raise UserError(refusal(f"{dataset}, {name}: {empty} rows"))
            count = -(-len(split) // rows)
            for number in range(count):
                shard = split.select(range(number * rows, min(len(split), (number + 1) * rows)))
                path = folder / f"{name}-{number:05d}-of-{count:05d}.parquet"
                shard.to_parquet(path, batch_size=ROWS_PER_GROUP)
            print(f"{name}: {len(split):,} rows in {count} shards")
        shutil.copyfile(dataset / CARD_NAME, folder / CARD_NAME)
        sizes = {
            name: (len(split), sum(path.stat().st_size for path in folder.glob(f"{name}-*.parquet")))
            for name, split in splits.items()
        }
        write_hub_card(folder, read_card(dataset), split.features, sizes, parquet=True)


if __name__ == "__main__":
    main()
