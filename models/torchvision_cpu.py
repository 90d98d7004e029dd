"""Let a CPU build of torch work beside a CUDA build of torchvision; import it before torchvision.

PyPI carries no CPU build of torchvision. Its CUDA build cannot load its compiled operators next to a CPU torch, and
`import torchvision` then dies with `operator torchvision::nms does not exist` (pytorch/vision#9085), and with it
transformers, timm and evaluate. Nothing here uses these operators, so declaring their schemas is enough. With matched
builds this module does nothing.
"""

import importlib.util
from pathlib import Path

import torch

_MISSING_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _operators_load() -> bool:
    package = Path(importlib.util.find_spec("torchvision").origin).parent
    libraries = [*package.glob("_C*.so"), *package.glob("_C*.pyd"), *package.glob("_C*.dylib")]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operator schemas if this torch has no CUDA and they cannot be loaded."""
    if torch.version.cuda is not None or _operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for schema in _MISSING_SCHEMAS:
        library.define(schema)
    return library


# The schemas live as long as this object does.
library = declare_missing_operators()
