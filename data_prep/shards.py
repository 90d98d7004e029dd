"""Write a prepared dataset as Parquet shards, from which `train.py --streaming` trains without a copy of the data.

python -m data_prep.shards --dataset data/kaggle_fashion --output shards/fashion
"""

import argparse
import os
import shutil
from pathlib import Path

from datasets import load_from_disk

from data_prep.pipeline.card import CARD_NAME, read_card

ROWS_A_SHARD = 10_000
ROWS_A_GROUP = 500


def main(argv: list[str] | None = None) -> None:
    """Write a prepared dataset as Parquet shards."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.shards", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", required=True, metavar="DIR", help="prepared dataset")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write the shards to")
    parser.add_argument("--rows", type=int, default=ROWS_A_SHARD, help=f"a shard; default: {ROWS_A_SHARD}")
    options = parser.parse_args(argv)
    try:
        if options.rows < 1:
            raise ValueError(f"--rows {options.rows} must be at least 1")
        read_card(options.dataset)
        write_shards(Path(options.dataset), options.output, options.rows)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def refusal(what: str) -> str:
    return (
        f"{what} without the bytes of an image are refused: reading them would fetch whatever file or address they "
        "name; embed the images, as `python -m data_prep.shards` does"
    )


def write_shards(dataset: Path, output: Path, rows: int) -> None:
    """The folder appears under its name only when it is complete."""
    if output.exists():
        raise ValueError(f"{output} exists; choose another --output")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, split in load_from_disk(str(dataset)).items():
            empty = sum(chunk.field("bytes").null_count for chunk in split.data.column("image").chunks)
            if empty:
                raise ValueError(refusal(f"{dataset}, {name}: {empty} rows"))
            count = -(-len(split) // rows)
            for number in range(count):
                shard = split.select(range(number * rows, min(len(split), (number + 1) * rows)))
                path = partial / f"{name}-{number:05d}-of-{count:05d}.parquet"
                shard.to_parquet(path, batch_size=ROWS_A_GROUP)
            print(f"{name}: {len(split):,} rows in {count} shards")
        shutil.copyfile(dataset / CARD_NAME, partial / CARD_NAME)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    main()
