"""The page on a free port of this machine, with two models: `fashion` knows when it is unsure, `plain` does not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.app import build_page, launch_options
from app.service import MODELS, Service
from app.teach.teacher import Teacher

LEAST = (0.5, 0.7, 0.8)  # confidence from which on an answer is sure, broad to narrow


def two_models(folder: Path) -> Path:
    """The shipped model twice, once with thresholds."""
    for name in ("fashion", "plain"):
        shutil.copytree(MODELS / "fashion", folder / name, ignore=shutil.ignore_patterns("calibration.json"))
    config = json.loads((folder / "fashion" / "config.json").read_text(encoding="utf-8"))
    levels, paths = config["taxonomy"]["levels"], config["taxonomy"]["paths"].values()
    thresholds = {level: {path[depth]: LEAST[depth] for path in paths} for depth, level in enumerate(levels)}
    calibration = {
        "version": 1,
        "temperature": 1.0,
        "target_precision": 0.99,
        "thresholds": thresholds,
        "unknown": {"method": "energy", "threshold": 0.5, "middle": -4.7, "width": 1.0},
    }
    (folder / "fashion" / "calibration.json").write_text(json.dumps(calibration), encoding="utf-8")
    return folder


@contextmanager
def serving(
    models: Path, review: str = "0", corrections: Path | None = None, teacher: Teacher | None = None
) -> Iterator[str]:
    """The page's address."""
    page = build_page(Service(models), review, corrections, teacher)
    _, address, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_error=False, **launch_options()
    )
    try:
        yield address.rstrip("/")
    finally:
        page.close(verbose=False)
