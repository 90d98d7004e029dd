"""The graph of pretrained weights, exported once per machine: any head goes into it without another export.

    graph = pretrained_graph(model, 224)                    # from HF_HOME/snapshelf/graphs, else exported
    features = Features(graph).embeddings(pixels)           # pixels: as the model reads them
    export_onnx(model, pixels, path, with_head(graph, weight, bias))

An export of EfficientNet-Lite2 takes 11 s of processor time, and half of what `train.py --frozen` needs for a few
photos. The head that a kept graph was exported with has known numbers, by which its tensors are found.
"""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from huggingface_hub import constants
from onnx import numpy_helper
from transformers import PreTrainedModel

from app.files import replacing
from models.export_onnx import trace
from models.layers import is_head
from models.onnx_outputs import INPUT, LOGITS

GRAPHS = Path(constants.HF_HOME) / "snapshelf" / "graphs"
KEPT = 8  # graphs, 20 MB each
EXPORTERS = ("torch", "onnxscript", "onnx", "transformers", "timm")
BATCH_SIZE = 8


def pretrained_graph(model: PreTrainedModel, head: torch.nn.Linear, size: int) -> onnx.ModelProto | None:
    """The model's graph with a head of known numbers; None where it gives no embeddings or the head cannot be found.

    head: the model's, whose numbers are replaced. Raises ExportError.
    """
    path = GRAPHS / f"{key_of(model, size)}.onnx"
    graph = _read(path)
    if graph is None:
        with torch.no_grad():
            for parameter, values in zip((head.weight, head.bias), known_head(*head.weight.shape), strict=True):
                parameter.copy_(torch.from_numpy(values))
        pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        graph = trace(model.float().cpu().eval(), pixels)
        _keep(graph, path)
    names = [output.name for output in graph.graph.output]
    return graph if "embeddings" in names and head_tensors(graph) else None


def with_head(graph: onnx.ModelProto, weight: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """A copy with this head. weight: (labels, dim), bias: (labels,)."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    values = {"weight": weight, "transposed": weight.T, "bias": bias}
    for tensor, part in head_tensors(changed):
        new = np.ascontiguousarray(values[part], dtype=np.float32)
        tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    changed.graph.ClearField("value_info")  # shapes, some of which the number of labels changes
    for output in changed.graph.output:
        if output.name != "embeddings":
            output.type.tensor_type.shape.dim[1].dim_value = len(bias)
    return changed


def head_tensors(graph: onnx.ModelProto) -> list[tuple[onnx.TensorProto, str]]:
    """The tensors that hold a part of the known head, and which: weight, transposed or bias. Empty unless all do."""
    shapes = {output.name: output.type.tensor_type.shape.dim for output in graph.graph.output}
    weight, bias = known_head(shapes[LOGITS][1].dim_value, shapes["embeddings"][1].dim_value)
    parts, found = {"weight": weight, "transposed": weight.T, "bias": bias}, []
    for tensor in graph.graph.initializer:
        same_shape = [part for part, values in parts.items() if tuple(tensor.dims) == values.shape]
        if same_shape:
            values = numpy_helper.to_array(tensor)
            found += [(tensor, part) for part in same_shape if np.array_equal(values, parts[part])][:1]
    is_whole = {"bias"} < {part for _, part in found}
    return found if is_whole else []


def known_head(labels: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    drawn = (generator.standard_normal((labels, dim)), generator.standard_normal(labels))
    return drawn[0].astype(np.float32), drawn[1].astype(np.float32)


def key_of(model: PreTrainedModel, size: int) -> str:
    """Changes with the weights below the head, the architecture, the image size and what exports."""
    below = [(name, layer) for name, layer in model.named_modules() if not is_head(name, model)]
    layers = [(name, type(layer).__name__, layer.extra_repr()) for name, layer in below]
    digest = hashlib.sha256(repr((layers, size, [version(name) for name in EXPORTERS])).encode())
    for name, tensor in model.state_dict().items():
        if not is_head(name, model):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path) -> onnx.ModelProto | None:
    try:
        graph = onnx.load(path)
        os.utime(path)  # used now: others go first
        return graph
    except (OSError, DecodeError):
        return None


def _keep(graph: onnx.ModelProto, path: Path) -> None:
    """A full disk or a folder of somebody else costs only the next export's time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            onnx.save(graph, partial)
        for old in sorted(path.parent.glob("*.onnx"), key=os.path.getmtime)[:-KEPT]:
            old.unlink()
    except OSError:
        return


class Features:
    """A graph's embeddings, one thread for each call: several calls at once use the cores best."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def embeddings(self, pixels: np.ndarray) -> np.ndarray:
        """(rows, 3, height, width) float32 as the model reads them -> (rows, dim) float32."""
        starts = range(0, len(pixels), BATCH_SIZE)
        run = [self._session.run(["embeddings"], {INPUT: pixels[at : at + BATCH_SIZE]})[0] for at in starts]
        return np.concatenate(run)
