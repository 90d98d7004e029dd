"""The files in results/runs: validate.py writes one per scored model, leaderboard.py reads them all."""

import json
import tempfile
from pathlib import Path

import numpy as np

from app.classifier import Classifier
from app.errors import UserError
from app.model_files import INT8_FILE, MODEL_FILE
from app.titled import TITLES_FILE

RESULTS = Path(__file__).resolve().parents[1] / "results"
TITLE_COLUMN = "title_column"  # of a run that read titles
ROWS_SCORED = ("dataset", "fingerprint", "split")
FACTS = ("parameters", "megabytes", "images_per_second", "machine", "commit", "date", "training", "command")


def path_of_run(results: Path, name: str) -> Path:
    """Where to write a run. Raises UserError if it cannot be written, which nobody should learn after the slow work."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"--name {name!r} must be the name of a file, without a path")
    folder = results / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"cannot write --output {results}: {error.strerror}") from error
    return folder / f"{name}.json"


def training_facts(model: Path) -> dict:
    """The command and the seed that train.py left in the model's folder; None for a model from elsewhere."""
    try:
        arguments = json.loads((model / "arguments.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        arguments = None
    arguments = arguments if isinstance(arguments, dict) else {}
    return {"training": arguments.get("command"), "training_seed": arguments.get("training", {}).get("seed")}


def model_facts(model: Path, classifier: Classifier, with_titles: bool = False) -> dict:
    """The precision and the size of the graphs that the classifier runs."""
    import onnx  # half a second

    graphs = [model / (INT8_FILE if classifier.precision == "int8" else MODEL_FILE)]
    graphs += [model / TITLES_FILE] if with_titles else []
    return {
        "precision": classifier.precision,
        "temperature": classifier.calibration.temperature if classifier.calibration else None,
        "parameters": sum(int(np.prod(weight.dims)) for path in graphs for weight in onnx.load(path).graph.initializer),
        "megabytes": round(sum(path.stat().st_size for path in graphs) / 1e6, 2),
    }


def read_runs(results: Path) -> list[dict]:
    """All runs, those on the same rows together, best accuracy first. Raises UserError naming an invalid file."""
    runs = []
    for path in sorted((results / "runs").glob("*.json")):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            run["accuracy"]["value"], run["correct_rows"], [run[key] for key in (*ROWS_SCORED, *FACTS)]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a run that validate.py wrote ({type(error).__name__}: {error})") from error
        runs.append(run)
    if not runs:
        raise UserError(f"no runs in {results / 'runs'}; python validate.py --model DIR --dataset D writes one")
    return best_first(runs)


def best_first(runs: list[dict]) -> list[dict]:
    return sorted(runs, key=lambda run: (rows_scored(run), -run["accuracy"]["value"], run["name"]))


def rows_scored(run: dict) -> tuple[str, ...]:
    """What makes two runs comparable: those that read titles stand apart."""
    return (*(run[key] for key in ROWS_SCORED), run.get(TITLE_COLUMN) or "")
