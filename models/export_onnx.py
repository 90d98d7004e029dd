"""Write a torch model as an ONNX graph that computes the same, and say how closely.

    difference = export_onnx(model, pixels, Path("runs/mine/model.onnx"))       # 2e-04

The graph reads `pixel_values` and gives `logits`, and where models/onnx_outputs.py finds them `embeddings` and
`class_maps`. Its weights take 16 bits in the file and are float32 once loaded.
"""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import PreTrainedModel

from app.calibration import model_hash
from app.errors import one_line
from app.files import replacing
from app.parents import WEIGHTS_FILE, WEIGHTS_KEY
from models.onnx_outputs import INPUT, GraphOutputs

MAX_PROBABILITY_DIFFERENCE = 1e-3  # of the graph from torch, most of it from storing the weights in 16 bits
MAX_FLOAT32_DIFFERENCE = 1e-4
CHECKED_IMAGES = 64  # how many images a graph is compared with torch on
OPSET = 18
SMALLEST_COMPACT_TENSOR = 4096  # weights of fewer numbers stay as they are: there is nothing to save
INT16_MAX = 32767


class ExportError(RuntimeError):
    """The graph could not be written, or does not compute what the torch model does."""


def export_onnx(model: PreTrainedModel, pixels: np.ndarray, path: Path, graph: onnx.ModelProto | None = None) -> float:
    """Write the model to `path` and return the largest probability difference from torch on `pixels`.

    pixels: (batch, 3, height, width) float32 as the model reads them, real images. The file appears only if it
    passes. Weights take 16 bits where that stays within MAX_PROBABILITY_DIFFERENCE, else 32. The model itself is left
    in float32 on the CPU. The graph names the safetensors beside it. graph: what `trace` gave, to save its time.
    Raises ExportError with the cause.
    """
    model = model.to(device="cpu", dtype=torch.float32, memory_format=torch.contiguous_format).eval()
    graph = without_traces(graph or trace(model, torch.from_numpy(pixels)))
    with torch.inference_mode():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.softmax(-1)
    difference = _largest_difference(expected, pixels, graph)
    if not difference < MAX_FLOAT32_DIFFERENCE:
        raise ExportError(f"probabilities differ from torch by {difference:.1e}, allowed {MAX_FLOAT32_DIFFERENCE}")
    compact = onnx.ModelProto()
    compact.CopyFrom(graph)
    compact_difference = _largest_difference(expected, pixels, compact_weights(compact))
    if compact_difference < MAX_PROBABILITY_DIFFERENCE:
        graph, difference = compact, compact_difference
    weights = path.with_name(WEIGHTS_FILE)
    if weights.is_file():
        helper.set_model_props(graph, {WEIGHTS_KEY: model_hash(weights)})
    with replacing(path) as partial:
        onnx.save(graph, partial)
    return difference


def trace(model: PreTrainedModel, pixels: torch.Tensor) -> onnx.ModelProto:
    """pixels: (batch, 3, height, width) of two images at least. Raises ExportError."""
    for layer in model.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False  # the same numbers, and a third less time: torch rewrites what works in place
    try:
        outputs = GraphOutputs(model, pixels[:2]).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            program = torch.onnx.export(
                outputs,
                (pixels[:2],),
                input_names=[INPUT],
                output_names=outputs.names,
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        return program.model_proto
    except Exception as error:  # the exporter raises many types; every one means that there is no graph
        raise ExportError(f"{type(error).__name__}: {one_line(error)}") from error


def without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes, among them stack traces with the paths of the exporting machine."""
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return graph


def compact_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Turn large float32 weights into 16-bit integers with a scale per row, which onnxruntime restores at load.

    Half precision would be as small and needs no scale, but is eight times further off where a row's weights are of
    similar size, as they are: MobileNetV2's probabilities then move by up to 0.009, with these by 0.0002.
    """
    restore = []
    for weight in list(graph.graph.initializer):
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < SMALLEST_COMPACT_TENSOR:
            continue
        name, largest = weight.name, np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / INT16_MAX).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int16), f"{name}_int16"))
        graph.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        restore.append(helper.make_node("Cast", [f"{name}_int16"], [f"{name}_float"], to=TensorProto.FLOAT))
        restore.append(helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [name]))
    for node in reversed(restore):
        graph.graph.node.insert(0, node)
    return graph


def _largest_difference(expected: torch.Tensor, pixels: np.ndarray, graph: onnx.ModelProto) -> float:
    """expected: (batch, labels) probabilities."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {INPUT: pixels})
    return float((torch.from_numpy(logits).softmax(-1) - expected).abs().max())
