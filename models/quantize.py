"""Turn a graph into one that computes in 8-bit integers, and find the layers that have to stay in float.

    float_layers = quantize(Path("model.onnx"), Path("model.int8.onnx"), training_pixels, good_enough)

Static quantization with QuantizeLinear/DequantizeLinear pairs (Jacob et al. 2018): weights int8 with a scale per output
channel, activations uint8 with the range they have on training images. Some layers carry most of the error,
often the first ones, which see few channels of very different size. So each block of neighbouring layers is left in
float in turn, the blocks are sorted by how much closer the logits then come, and as few as needed stay in float.
Blocks, because every step between float and int8 costs time.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tqdm import tqdm

from app.calibration import model_hash
from app.parents import GRAPH_KEY
from models.onnx_outputs import INPUT, LOGITS

LAYERS = ("Conv", "Gemm", "MatMul")  # what holds the weights and the time
CARRIED = ("Add", "Clip", "Relu")  # quantized with the layers around them, or each would go back to float
BLOCK = 3  # layers; an inverted residual block of MobileNetV2 or EfficientNet has three
FLOAT_BLOCKS = (0, 1, 2, 3, 4, 6)  # how many of the worst blocks stay in float, tried in this order
BATCH_SIZE = 16
SENSITIVITY_IMAGES = 32
TIMED_RUNS = 15


def quantize(
    source: Path, target: Path, pixels: np.ndarray, good_enough: Callable[[Path, int], bool]
) -> list[str] | None:
    """Write `target` with as few float layers as are good enough and return their names, None if nothing was.

    pixels: (images, 3, height, width) float32 of training images, a few hundred. good_enough: called with a
    candidate's file and its number of float layers. `target` is written only if a candidate passed, and names `source`.
    """
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime advises folding the graph first, which is done here
    with tempfile.TemporaryDirectory() as scratch:
        folded, ranges, candidate = (Path(scratch) / name for name in ("folded.onnx", "ranges.json", "int8.onnx"))
        fold(source, folded)
        layers = quantizable(onnx.load(folded).graph)
        write_int8(folded, candidate, layers, ranges, pixels)
        worst = by_error(folded, ranges, layers, pixels[:SENSITIVITY_IMAGES])
        for number in [number for number in FLOAT_BLOCKS if number < len(worst)]:
            kept = [layer for block in worst[:number] for layer in block]
            write_int8(folded, candidate, [layer for layer in layers if layer not in kept], ranges)
            if good_enough(candidate, len(kept)):
                graph = onnx.load(candidate)
                graph.metadata_props.add(key=GRAPH_KEY, value=model_hash(source))
                onnx.save(graph, target)
                return kept
    return None


def fold(source: Path, target: Path) -> None:
    """Constants computed, batch normalization folded into convolutions: the graph as it will run."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    open_session(source, options)


def open_session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def quantizable(graph: onnx.GraphProto) -> list[str]:
    """The layers on the way to the logits except the last, which is small and decides; embeddings and maps stay."""
    maker = {output: node for node in graph.node for output in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    needed, waiting = {}, [LOGITS]
    while waiting:
        node = maker.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed[node.name] = node
            waiting.extend(node.input)
    layers = [n.name for n in graph.node if n.name in needed and n.op_type in LAYERS and weights & set(n.input)]
    return layers[:-1]


def write_int8(
    folded: Path, target: Path, layers: Sequence[str], ranges: Path, pixels: np.ndarray | None = None
) -> None:
    """Quantize these layers; `ranges` caches the activations' ranges, which are measured on `pixels` if given."""
    graph = onnx.load(folded).graph
    quantize_static(
        folded,
        target,
        None if pixels is None else _Batches(pixels),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=[*layers, *carried(graph, set(layers))],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibration_cache_path=ranges,
    )


def carried(graph: onnx.GraphProto, layers: set[str]) -> Iterator[str]:
    """Additions and activations fed only by quantized layers or by other carried nodes."""
    names = {output: node.name for node in graph.node for output in node.output}
    inside = set(layers)
    for node in graph.node:
        sources = [names[tensor] for tensor in node.input if tensor in names]
        if node.op_type in CARRIED and sources and inside.issuperset(sources):
            inside.add(node.name)
            yield node.name


def by_error(folded: Path, ranges: Path, layers: Sequence[str], pixels: np.ndarray) -> list[Sequence[str]]:
    """The layers in blocks, first those that bring the logits closest to the float graph's when they stay in float."""
    expected = run(folded, pixels)
    candidate = folded.with_name("one_block.onnx")
    blocks = [layers[start : start + BLOCK] for start in range(0, len(layers), BLOCK)]
    errors = []
    for block in tqdm(blocks, desc="error of each block", disable=None):
        write_int8(folded, candidate, [layer for layer in layers if layer not in block], ranges)
        errors.append(float(((run(candidate, pixels) - expected) ** 2).mean()))
    return [blocks[i] for i in np.argsort(errors)]


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The logits of a graph: (images, labels) float32."""
    session = open_session(path, onnxruntime.SessionOptions())
    return np.concatenate([session.run([LOGITS], {INPUT: batch})[0] for batch in batches(pixels)])


def time_ratio(source: Path, quantized: Path, pixels: np.ndarray) -> float:
    """How many times faster `quantized` runs than `source` on one thread; each at its best of TIMED_RUNS."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [open_session(path, options) for path in (source, quantized)]
    best = [float("inf")] * 2
    for _ in range(TIMED_RUNS):
        for number, session in enumerate(sessions):  # in turn, so that other work on the machine hits both
            start = time.thread_time()
            session.run([LOGITS], {INPUT: pixels})
            best[number] = min(best[number], time.thread_time() - start)
    return best[0] / best[1]


def batches(pixels: np.ndarray) -> Iterator[np.ndarray]:
    return (pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE))


class _Batches(CalibrationDataReader):
    """Images a batch at a time, as onnxruntime asks for them."""

    def __init__(self, pixels: np.ndarray):
        self.batches = batches(pixels)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}
