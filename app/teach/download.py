"""A taught model as one file: the folder as train.py wrote it, without what belongs to a training alone."""

import os
import zipfile
from pathlib import Path

LEFT_BEHIND = (".training.lock",)


def write_download(model: Path, folder: Path, name: str) -> Path:
    """folder/RANDOM/NAME.zip, which holds the folder NAME; an earlier one is replaced."""
    place = folder / "download" / os.urandom(16).hex()
    for old in (folder / "download").glob("*/*.zip"):
        old.unlink()
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / f"{name}.zip", "w", zipfile.ZIP_STORED) as archive:  # weights do not shrink
        for path in sorted(model.iterdir()):
            if path.is_file() and path.name not in LEFT_BEHIND:
                archive.write(path, f"{name}/{path.name}")
    return place / f"{name}.zip"
