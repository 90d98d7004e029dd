"""Write a trained model as an ONNX graph, check it against torch on real images, and quantise it on demand.

    python export.py --model runs/mobilenet_v2                       # model.onnx from the folder's safetensors
    python export.py --model app/models/fashion --int8 --dataset data/kaggle_fashion    # model.int8.onnx beside it

The graph reads `pixel_values` and gives `logits`, `embeddings` (what the last linear layer reads) and, where that layer
follows an average over places, `class_maps`: what each place says for each label (Zhou et al. 2016). Its weights take
16 bits in the file and are float32 once loaded.
"""

import argparse
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModelForImageClassification, PretrainedConfig, PreTrainedModel

from app.classifier import Classifier, ModelError
from app.images import load_image, preprocess
from app.model_files import CONFIG_FILE, INT8_FILE, MODEL_FILE, PREPROCESSOR_FILE
from data_prep.pipeline.prepared import load_prepared
from evaluation.predictions import encoded, read_pixels, run_split, spread
from models.onnx_outputs import GraphOutputs

MAX_PROBABILITY_DIFFERENCE = 1e-3  # of the graph from torch, most of it from storing the weights in 16 bits
MAX_FLOAT32_DIFFERENCE = 1e-4
CHECKED_IMAGES = 64
RANGE_IMAGES = 256  # training images that give the ranges of int8 activations
MIN_AGREEMENT = 0.99  # of the int8 graph's labels with the float graph's
MAX_LOSS = 0.003  # accuracy that int8 may cost
OPSET = 18
SMALLEST_COMPACT_TENSOR = 4096  # weights of fewer numbers stay as they are: there is nothing to save
INT16_MAX = 32767
INPUT = "pixel_values"


class ExportError(RuntimeError):
    """The graph could not be written, or does not compute what the torch model does."""


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        if args.int8:
            quantize_folder(args.model, args.dataset)
        else:
            export_folder(args.model, args.dataset)
    except (ModelError, ValueError) as error:
        parser.error(str(error))
    except ExportError as error:
        sys.exit(f"export.py: nothing was written: {error}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a model folder that train.py wrote")
    parser.add_argument("--int8", action="store_true", help=f"write {INT8_FILE} from the folder's {MODEL_FILE}")
    parser.add_argument("--dataset", required=True, help="the prepared dataset that the model learnt: to check it with")
    return parser


def export_folder(folder: Path, dataset: str) -> None:
    """Write model.onnx from the safetensors, checked on validation images. Raises ExportError or ValueError."""
    if not (folder / "model.safetensors").is_file():
        raise ValueError(f"--model {folder}: no model.safetensors to export; take the folder that train.py wrote")
    from models import registry as models  # noqa: F401  makes the project's own architectures known to transformers

    try:
        model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"--model {folder} cannot be opened: {str(error).splitlines()[0]}") from error
    pixels = checked_pixels(folder, model.config, dataset)
    difference = export_onnx(model, pixels, folder / MODEL_FILE)
    size = (folder / MODEL_FILE).stat().st_size / 1e6
    print(f"{folder / MODEL_FILE}: {size:.1f} MB, probabilities within {difference:.0e} of torch's")


def checked_pixels(folder: Path, config: PretrainedConfig, dataset: str) -> np.ndarray:
    """Validation images as the model reads them: (images, 3, height, width) float32."""
    preprocessor = json.loads((folder / PREPROCESSOR_FILE).read_text(encoding="utf-8"))
    split = load_prepared(dataset, config.taxonomy["levels"][-1], ["validation"])["validation"]
    images = encoded(split, spread(len(split), CHECKED_IMAGES))
    side = max(preprocessor["size"].values())
    return np.stack([preprocess(load_image(image, side), preprocessor) for image in images])


def quantize_folder(folder: Path, dataset: str) -> None:
    """Write model.int8.onnx if it is as good as model.onnx on validation. Raises ExportError or ValueError."""
    from models.quantize import quantize  # half a second that a training run need not pay

    classifier = Classifier.load(folder, precision="fp32", calibrated=False)
    training, _ = read_pixels(classifier, dataset, "train", RANGE_IMAGES)
    check = Int8Check(classifier, folder, dataset)
    partial = folder / f"{INT8_FILE}.partial"
    try:
        kept = quantize(folder / MODEL_FILE, partial, training, check)
        if kept is None:
            raise ExportError(f"no int8 graph was good enough; the last {check.found[-1]}")
        partial.replace(folder / INT8_FILE)
    finally:
        partial.unlink(missing_ok=True)
    size = (folder / INT8_FILE).stat().st_size / 1e6
    print(f"{folder / INT8_FILE}: {size:.1f} MB, {len(kept)} layers in float; {check.found[-1]}")


class Int8Check:
    """Compares int8 graphs with the float graph on the validation split and remembers what each loses."""

    def __init__(self, classifier: Classifier, folder: Path, dataset: str):
        self.folder, self.dataset = folder, dataset
        split = run_split(classifier, dataset, "validation")
        self.expected, self.truth = split.logits.argmax(axis=1), split.truth
        self.found: list[str] = []

    def __call__(self, candidate: Path, float_layers: int) -> bool:
        """Whether the graph in the file `candidate` is good enough."""
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(candidate, Path(scratch, MODEL_FILE))
            for name in (CONFIG_FILE, PREPROCESSOR_FILE):
                shutil.copy(self.folder / name, scratch)
            split = run_split(Classifier.load(scratch), self.dataset, "validation")
        predicted = split.logits.argmax(axis=1)
        agreement = float((predicted == self.expected).mean())
        loss = float((self.expected == self.truth).mean() - (predicted == self.truth).mean())
        self.found.append(
            f"agrees with fp32 on {agreement:.2%} of {len(self.truth)} validation images (at least "
            f"{MIN_AGREEMENT:.0%}) and loses {100 * loss:.2f} points of accuracy (at most {100 * MAX_LOSS:.1f})"
        )
        print(f"with {float_layers} layers in float it {self.found[-1]}", file=sys.stderr)
        return agreement >= MIN_AGREEMENT and loss <= MAX_LOSS


def export_onnx(model: PreTrainedModel, pixels: np.ndarray, path: Path) -> float:
    """Write the model to `path` and return the largest probability difference from torch on `pixels`.

    pixels: (batch, 3, height, width) float32 as the model reads them, real images. The file appears only if it
    passes. Weights take 16 bits where that stays within MAX_PROBABILITY_DIFFERENCE, else 32. Raises ExportError with
    the cause.
    """
    # A copy in float32 on the CPU: the caller's model stays where and how it is.
    model = model.to(device="cpu", dtype=torch.float32, memory_format=torch.contiguous_format).eval()
    partial = path.with_name(f"{path.name}.partial")
    try:
        _write_graph(model, torch.from_numpy(pixels), partial)
        onnx.save(without_traces(onnx.load(partial)), partial)
        difference = _largest_difference(model, pixels, partial)
        if not difference < MAX_FLOAT32_DIFFERENCE:
            raise ExportError(f"probabilities differ from torch by {difference:.1e}, allowed {MAX_FLOAT32_DIFFERENCE}")
        difference = _shrink(model, pixels, partial, difference)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes, among them stack traces with the paths of the exporting machine."""
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return graph


def _write_graph(model: PreTrainedModel, pixels: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    try:
        with_features = GraphOutputs(model, pixels[:2]).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            torch.onnx.export(
                with_features,
                (pixels[:2],),
                path,
                input_names=[INPUT],
                output_names=with_features.names,
                dynamic_shapes={"pixel_values": {0: batch}},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many types; every one means that there is no graph
        raise ExportError(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error


def _shrink(model: PreTrainedModel, pixels: np.ndarray, path: Path, difference: float) -> float:
    """Replace the graph at `path` by one with compact weights if it computes nearly the same."""
    smaller = path.with_name(f"{path.name}.compact")
    try:
        onnx.save(compact_weights(onnx.load(path)), smaller)
        compact_difference = _largest_difference(model, pixels, smaller)
        if compact_difference < MAX_PROBABILITY_DIFFERENCE:
            smaller.replace(path)
            return compact_difference
        return difference
    finally:
        smaller.unlink(missing_ok=True)


def compact_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Large float32 weights as 16-bit integers with a scale for each row, from which onnxruntime restores them at load.

    Half precision would be as small and needs no scale, but is eight times further off where a row's weights are of
    like size, as they are: MobileNetV2's probabilities then move by up to 0.009, these by 0.0002.
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


def _largest_difference(model: PreTrainedModel, pixels: np.ndarray, path: Path) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {INPUT: pixels})
    with torch.inference_mode():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.softmax(-1)
    return float((torch.from_numpy(logits).softmax(-1) - expected).abs().max())


if __name__ == "__main__":
    main()
