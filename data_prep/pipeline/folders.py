"""Output folders that appear under their name only when they are complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import UserError

PARTIAL_SUFFIX = ".partial"


def check_output(
    output: Path, overwrite: bool, marker: str = "dataset_dict.json", kind: str = "a prepared dataset"
) -> None:
    """Refuse to write over something, before any work is done.

    Only an empty folder and one that holds the file `marker`, which makes it `kind`, are ever replaced.
    """
    if not output.name:
        raise UserError(f"--output {output} is not the name of a folder to write")
    if not output.exists():
        return
    if not overwrite:
        raise UserError(f"{output} exists; choose another --output or add --overwrite to replace it")
    if not output.is_dir() or (any(output.iterdir()) and not (output / marker).is_file()):
        raise UserError(f"{output} is not {kind}, so --overwrite will not replace it")


@contextmanager
def new_folder(output: Path, resumable: bool = False) -> Iterator[Path]:
    """A folder to fill; it becomes `output` in one step when the block ends without an error.

    resumable: after an error the hidden folder around it stays, for the block to keep there what the next run can use;
    the folder itself may then hold what a stopped run left, and is emptied by the block once it holds a lock.
    """
    partial = output.with_name(f".{output.name}{PARTIAL_SUFFIX}")
    staging = partial / "result"
    if not resumable:
        shutil.rmtree(partial, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    try:
        yield staging
    except BaseException:
        if not resumable:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    publish(staging, output)
    shutil.rmtree(partial)


def publish(staging: Path, output: Path) -> None:
    """Move a finished folder to its final name."""
    if output.exists():
        old = output.with_name(f".{output.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(output, old)
        os.replace(staging, output)
        shutil.rmtree(old)
    else:
        os.replace(staging, output)
