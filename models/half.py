"""Store a model's weights in 16 bits, for a model that ships within a repository.

    halve_weights(Path("app/models/fashion"))       # then export again, so that the graph has the same rounded weights

Large tensors become float16. config.json keeps `dtype: float32`, so that transformers computes in 32 bits.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from app.files import replacing, write_json
from app.model_files import CONFIG_FILE, ModelError
from app.model_json import read_json
from app.parents import WEIGHTS_FILE

SMALLEST = 4096  # numbers; BatchNorm's statistics and the like stay as they are: there is nothing to save


def halve_weights(folder: Path) -> None:
    """Rewrite model.safetensors. Raises ModelError if a weight does not fit into float16."""
    config = read_json(folder / CONFIG_FILE, ModelError)
    weights = load_file(folder / WEIGHTS_FILE)
    halved = {name: _half(name, tensor) for name, tensor in weights.items()}
    write_json(folder / CONFIG_FILE, config | {"dtype": "float32"})
    with replacing(folder / WEIGHTS_FILE) as partial:
        save_file(halved, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # safetensors makes it readable by its owner alone


def _half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.float32 or tensor.numel() < SMALLEST:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise ModelError(f"{name} has weights above 65504, which float16 cannot hold: keep model.safetensors as it is")
    return half
