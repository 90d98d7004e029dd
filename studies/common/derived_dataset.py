"""Prepared datasets made from prepared ones for a study: other splits, groups or labels, the same images.

    derive(Path("data/slash"), Path("runs/studies/slash8/pages"), make_splits)

Such a folder reads like any that a data_prep module wrote. It keeps the fingerprint of the source, whose images it
holds, and is made again when that has changed.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from datasets import DatasetDict, load_from_disk

from data_prep.pipeline.card import DatasetError, read_card, write_card

Splits = Callable[[DatasetDict], DatasetDict]


def derive(source: Path, output: Path, make_splits: Splits, seed: int = 42) -> Path:
    """Write `make_splits(source)` to `output` unless it is there. Raises DatasetError for a source without a card."""
    card = read_card(source)
    if is_current(output, card["fingerprint"]):
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    splits = make_splits(load_from_disk(source))
    splits.save_to_disk(partial)
    facts = {
        "pretty_name": f"{card['pretty_name']}, rearranged by a study",
        **{key: card[key] for key in ("license", "source", "fingerprint") if key in card},
        "seed": seed,
        "label_columns": ["label"],
        "splits": {name: len(split) for name, split in splits.items()},
    }
    write_card(partial, facts, {"Origin": [f"Made from {source.name}; see the study that made it."]})
    put_in_place(partial, output, card["fingerprint"])
    return output


def put_in_place(partial: Path, output: Path, fingerprint: str) -> None:
    """Unless another row of the study, run at the same time, was faster."""
    if is_current(output, fingerprint):
        shutil.rmtree(partial)
        return
    shutil.rmtree(output, ignore_errors=True)
    partial.replace(output)


def is_current(folder: Path, fingerprint: str) -> bool:
    try:
        return read_card(folder)["fingerprint"] == fingerprint
    except DatasetError:
        return False
