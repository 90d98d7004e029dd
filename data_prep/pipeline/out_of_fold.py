"""oof.parquet, the predictions of a cross-validation: each image as a model answered it that never saw its product.

    predictions = read_out_of_fold(Path("runs/cv/oof.parquet"), names)      # OutOfFold(ids=…, probabilities=…, …)

train.py --folds writes the file, data_prep.doctor and calibrate.py read it with --oof. One row per image:

    id, group, label   as in the dataset, the label by its name
    fold               the fold that held it out, from 0
    probabilities      float32 list in the order of the label column's class names
    logits             the same before the softmax
    embeddings         float32 list; only where all folds share the network that gives them
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.errors import UserError, one_line
from app.files import replacing

OOF_NAME = "oof.parquet"
COLUMNS = ("id", "group", "label", "fold", "probabilities", "logits")
METADATA_KEY = b"snapshelf"
MAX_SUM_ERROR = 0.02
SHOWN_NAMES = 5


class OutOfFoldError(UserError):
    """A file of out-of-fold predictions cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """One entry per row; None for a column that its reader did not ask for.

    labels: names. fold_of: (rows,). probabilities, logits: (rows, labels) float32. embeddings: (rows, dim)
    float32, None where the file has none. made_by: what the file's author recorded.
    """

    ids: list[str]
    groups: list[str] | None
    labels: list[str] | None
    fold_of: np.ndarray | None
    probabilities: np.ndarray
    logits: np.ndarray | None
    embeddings: np.ndarray | None = None
    made_by: dict = field(default_factory=dict)


def read_out_of_fold(path: Path, names: Sequence[str], columns: Sequence[str] = COLUMNS) -> OutOfFold:
    """Some columns of an oof.parquet whose lists have one number per name of `names`, in that order.

    Another tool's file may hold one column per class instead of the list `probabilities`. Raises OutOfFoldError.
    """
    import pyarrow.parquet

    table = _readable(path, pyarrow.parquet.read_table)
    missing = [name for name in columns if name not in table.column_names and name != "probabilities"]
    if missing:
        raise _not_an_oof(path, f"it has no column {missing[0]}; it has {', '.join(table.column_names)[:300]}")
    return OutOfFold(
        ids=[str(identity) for identity in table["id"].to_pylist()],
        groups=table["group"].to_pylist() if "group" in columns else None,
        labels=table["label"].to_pylist() if "label" in columns else None,
        fold_of=table["fold"].to_numpy() if "fold" in columns else None,
        probabilities=_probabilities(path, table, names),
        logits=_matrix(path, table, "logits", len(names)) if "logits" in columns else None,
        embeddings=_matrix(path, table, "embeddings") if "embeddings" in table.column_names else None,
        made_by=_made_by(table.schema),
    )


def read_made_by(path: Path) -> dict:
    """What the file's author recorded, from its footer; empty for another tool's file. Raises OutOfFoldError."""
    import pyarrow.parquet

    return _made_by(_readable(path, pyarrow.parquet.read_schema))


def write_out_of_fold(path: Path, rows: OutOfFold) -> None:
    """The file appears under its name only when it is complete."""
    import pyarrow
    import pyarrow.parquet

    columns = {"id": rows.ids, "group": rows.groups, "label": rows.labels}
    columns["fold"] = pyarrow.array(rows.fold_of, pyarrow.int16())
    for name in ("probabilities", "logits", "embeddings"):
        matrix = getattr(rows, name)
        if matrix is not None:
            columns[name] = pyarrow.array(list(matrix.astype(np.float32)), pyarrow.list_(pyarrow.float32()))
    table = pyarrow.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(rows.made_by)})
    with replacing(path) as partial:
        pyarrow.parquet.write_table(table, partial, compression="zstd")


def _readable(path: Path, read: Callable):
    """What `read`, a function of pyarrow, makes of the file."""
    import pyarrow

    try:
        return read(path)
    except FileNotFoundError as error:
        raise _not_an_oof(path, "there is no such file") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_an_oof(path, f"it cannot be read as Parquet ({one_line(error)})") from error


def _made_by(schema) -> dict:
    return json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))


def _probabilities(path: Path, table, names: Sequence[str]) -> np.ndarray:
    """(rows, labels) float32 distributions from a list column, or from one column per class."""
    if "probabilities" in table.column_names:
        probabilities = _matrix(path, table, "probabilities", len(names))
    else:
        missing = [name for name in names if name not in table.column_names]
        if missing:
            shown = ", ".join(missing[:SHOWN_NAMES])
            raise _not_an_oof(path, f"it has neither a column probabilities nor one per class; {shown} is missing")
        probabilities = np.stack([_numbers(path, name, table[name]) for name in names], axis=1)
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise _not_an_oof(path, "it holds probabilities that are negative or not numbers")
    off = np.abs(probabilities.sum(axis=1) - 1).max(initial=0)
    if off > MAX_SUM_ERROR:
        raise _not_an_oof(path, f"the probabilities of a row do not add up to 1 (off by {off:.3g}); are they logits?")
    return probabilities


def _matrix(path: Path, table, name: str, width: int | None = None) -> np.ndarray:
    """(rows, width) float32 of a column of lists that are equally long."""
    lists = table[name].combine_chunks()
    if not hasattr(lists, "value_lengths"):
        raise _not_an_oof(path, f"its column {name} does not hold lists")
    lengths = sorted(set(lists.value_lengths().fill_null(0).to_pylist())) or [width or 0]
    if len(lengths) > 1:
        raise _not_an_oof(path, f"it has {lengths[0]} {name} in one row and {lengths[-1]} in another")
    if width is not None and lengths != [width]:
        raise _not_an_oof(path, f"it has {lengths[0]} {name} per row; the column has {width} classes")
    return _numbers(path, name, lists.flatten()).reshape(len(lists), lengths[0])


def _numbers(path: Path, name: str, values) -> np.ndarray:
    try:
        return values.to_numpy(zero_copy_only=False).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise _not_an_oof(path, f"its column {name} does not hold numbers") from error


def _not_an_oof(path: Path, reason: str) -> OutOfFoldError:
    return OutOfFoldError(f"{path} is not an {OOF_NAME} of out-of-fold predictions: {reason}")
