"""Write a trained model as an ONNX graph and check it against torch on real pictures."""

import warnings
from pathlib import Path

import cpu_torchvision  # noqa: F401  before transformers

import numpy as np
import onnxruntime
import torch
from transformers import PreTrainedModel

MAX_PROBABILITY_DIFFERENCE = 1e-4
CHECKED_IMAGES = 64
OPSET = 18


class ExportFailed(RuntimeError):
    """The graph could not be written, or does not compute what the torch model does."""


class _LogitsOnly(torch.nn.Module):
    """Hugging Face models return an object; an ONNX graph returns a tensor."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def export_onnx(model: PreTrainedModel, pixels: np.ndarray, path: Path) -> float:
    """Write the model to `path` and return the largest probability difference from torch on `pixels`.

    pixels: (batch, 3, height, width) float32 as the model reads them, real pictures. The file appears only if it
    passes. Raises ExportFailed with the cause.
    """
    # A copy in float32 on the CPU: the caller's model stays where and how it is.
    model = model.to(device="cpu", dtype=torch.float32, memory_format=torch.contiguous_format).eval()
    partial = path.with_name(f"{path.name}.partial")
    try:
        _write_graph(model, torch.from_numpy(pixels), partial)
        difference = _largest_difference(model, pixels, partial)
        if not difference < MAX_PROBABILITY_DIFFERENCE:
            raise ExportFailed(
                f"probabilities differ from torch by {difference:.1e}, allowed {MAX_PROBABILITY_DIFFERENCE}"
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def _write_graph(model: PreTrainedModel, pixels: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            torch.onnx.export(
                _LogitsOnly(model).eval(),
                (pixels[:2],),
                path,
                input_names=["pixel_values"],
                output_names=["logits"],
                dynamic_shapes={"pixel_values": {0: batch}},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many types; every one means that there is no graph
        raise ExportFailed(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error


def _largest_difference(model: PreTrainedModel, pixels: np.ndarray, path: Path) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixel_values": pixels})
    with torch.inference_mode():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.softmax(-1)
    return float((torch.from_numpy(logits).softmax(-1) - expected).abs().max())
