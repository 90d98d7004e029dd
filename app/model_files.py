"""Open a model folder and check that its parts fit together; onnxruntime and NumPy, no torch."""

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from .calibration import Calibration, CalibrationError, model_hash
from .errors import UserError, one_line
from .model_json import is_name, is_number, read_json, shown
from .onnx_check import GraphError, check_graph, limited_memory
from .parents import ATTRIBUTES_FILE, WEIGHTS_FILE, is_of_other_graph, is_of_other_weights
from .taxonomy import Taxonomy

if TYPE_CHECKING:
    from .attributes import Attributes

MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
CARD_FILE = "README.md"
PRECISIONS = ("auto", "fp32", "int8")
DEVICES = ("cpu", "cuda")
INT8_CPU_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}  # the instructions that make int8 faster than fp32
MAX_SIDE = 4096  # pixels of a model's input; the largest in use read 1,024
PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")


class ModelError(UserError):
    """A model folder that cannot be used. The message is one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelFiles:
    """The content of a model folder, checked; the attributes are those of Classifier."""

    folder: Path
    name: str
    session: onnxruntime.InferenceSession
    precision: str
    preprocessor: dict[str, Any]
    labels: list[str]
    taxonomy: Taxonomy
    calibration: Calibration | None
    attributes: "Attributes | None"
    model_card: str

    @classmethod
    def open(
        cls, folder: Path, threads: int, precision: str = "auto", device: str = "cpu", calibrated: bool = True
    ) -> "ModelFiles":
        """threads: per run of the graph. The other arguments are those of Classifier.load. Raises ModelError."""
        for value, allowed in ((precision, PRECISIONS), (device, DEVICES)):
            if value not in allowed:
                raise ModelError(f"{value!r} is not one of {', '.join(allowed)}")
        _check_folder(folder)
        config = read_json(folder / CONFIG_FILE, ModelError)
        preprocessor = read_json(folder / PREPROCESSOR_FILE, ModelError)
        _check_preprocessor(preprocessor, folder / PREPROCESSOR_FILE)
        labels = _labels(config, folder / CONFIG_FILE)
        taxonomy = _taxonomy(config, labels, folder / CONFIG_FILE)
        asked, precision = precision, _choose_precision(precision, folder, device)
        open_graph = partial(
            _open_session, threads=threads, device=device, size=preprocessor["size"], num_labels=len(labels)
        )
        _prepare_meanwhile(folder)
        session, precision = _open_own_graph(folder, precision, asked == "int8", open_graph)
        card = folder / CARD_FILE
        return cls(
            folder=folder,
            name=folder.resolve().name,
            session=session,
            precision=precision,
            preprocessor=preprocessor,
            labels=labels,
            taxonomy=taxonomy,
            calibration=_calibration(folder, taxonomy, session) if calibrated else None,
            attributes=_attributes(folder, session) if calibrated else None,
            model_card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
        )


def _choose_precision(precision: str, folder: Path, device: str) -> str:
    """auto means int8 if the folder has it and the CPU computes it in hardware; else fp32 is as fast, and exact."""
    if precision == "int8" and not (folder / INT8_FILE).is_file():
        raise ModelError(f"{folder} has no {INT8_FILE}; make it with: python export.py --model {folder} --int8")
    if precision != "auto":
        return precision
    return "int8" if device == "cpu" and (folder / INT8_FILE).is_file() and _cpu_computes_int8() else "fp32"


def _cpu_computes_int8() -> bool:
    """What Linux reports for the first core; False on other systems, which do not tell without a library."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return not INT8_CPU_FLAGS.isdisjoint(flags.split())


def _providers(device: str) -> list[str]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelError("device cuda: this onnxruntime computes on the CPU only; install onnxruntime-gpu in its place")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _open_session(
    path: Path, threads: int, device: str, size: dict[str, Any], num_labels: int
) -> onnxruntime.InferenceSession:
    """The session, after one run on a black image: some graphs only ask for all memory when they run."""
    providers = _providers(device)
    try:
        check_graph(path)
        with limited_memory(path) if device == "cpu" else nullcontext():  # CUDA reserves addresses by the terabyte
            session = onnxruntime.InferenceSession(path, _session_options(threads), providers=providers)
            _check_session(session, size, num_labels, path)
            session.run(["logits"], {"pixel_values": np.zeros((1, 3, size["height"], size["width"]), np.float32)})
    except GraphError as error:
        raise ModelError(f"{path} {error}") from None
    except ModelError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no public base class
        raise ModelError(f"{path} is not a usable ONNX model: {one_line(error)}") from None
    if session.get_providers()[0] != providers[0]:  # onnxruntime silently falls back to the CPU
        raise ModelError(f"device {device}: onnxruntime found no usable GPU (driver or CUDA libraries missing)")
    return session


def _prepare_meanwhile(folder: Path) -> None:
    """What the first answer needs beside the graph, on another thread while onnxruntime opens that."""

    def prepare() -> None:
        with suppress(OSError):  # who needs the hash will meet the error
            model_hash(folder / MODEL_FILE)
        if (folder / ATTRIBUTES_FILE).exists():
            from .attributes import color_of_level

            color_of_level()

    threading.Thread(target=prepare, daemon=True).start()


def _open_own_graph(
    folder: Path, precision: str, required: bool, open_graph: Callable[[Path], onnxruntime.InferenceSession]
) -> tuple[onnxruntime.InferenceSession, str]:
    """The graph of this precision and the precision; an int8 graph of other weights is left aside, and that is said.

    required: raise ModelError instead, because the user asked for int8.
    """
    if precision == "int8":
        session = open_graph(folder / INT8_FILE)
        if not is_of_other_graph(session, folder / MODEL_FILE):
            return session, precision
        problem = f"{folder / INT8_FILE} was not made from the {MODEL_FILE} beside it"
        cure = f"make it again with: python export.py --model {folder} --int8 --dataset DATASET"
        if required:
            raise ModelError(f"{problem}; {cure}")
        print(f"{problem}: it is not used; {cure}", file=sys.stderr)
    session = open_graph(folder / MODEL_FILE)
    if is_of_other_weights(session, folder):
        raise ModelError(
            f"{folder / MODEL_FILE} was made from other weights than the {WEIGHTS_FILE} beside it; "
            f"make it again with: python export.py --model {folder} --dataset DATASET"
        )
    return session, "fp32"


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would use up a core for 30 ms
    options.log_severity_level = 4  # what matters arrives as an exception
    return options


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"no model folder {str(folder)!r}")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"{folder} holds {', '.join(pickles)}: such files are pickles, which can run code when opened. "
            "Delete them or use a folder with only ONNX and safetensors"
        )
    missing = [name for name in (MODEL_FILE, CONFIG_FILE, PREPROCESSOR_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not a model folder: {', '.join(missing)} missing (train.py writes all of them)")


def _check_preprocessor(preprocessor: dict[str, Any], path: Path) -> None:
    size = preprocessor.get("size")
    sides = [size.get("height"), size.get("width")] if isinstance(size, dict) else []
    if not sides or not all(type(side) is int and 0 < side <= MAX_SIDE for side in sides):
        raise ModelError(
            f'{path}: size is {shown(size)}; it must be like {{"height": 224, "width": 224}}, at most {MAX_SIDE}'
        )
    for key in ("image_mean", "image_std"):
        values = preprocessor.get(key)
        if not (isinstance(values, list) and len(values) == 3 and all(map(is_number, values))):
            raise ModelError(f"{path}: {key} is {shown(values)}; it must be three numbers")
    if any(abs(value) < 1e-6 for value in preprocessor["image_std"]):  # pixels are divided by it
        raise ModelError(f"{path}: image_std is {preprocessor['image_std']}; it must not contain 0")
    if not is_number(preprocessor.get("rescale_factor", 1.0)):
        raise ModelError(f"{path}: rescale_factor is {shown(preprocessor['rescale_factor'])}; it must be a number")
    resample = preprocessor.get("resample", 2)
    if type(resample) is not int or resample not in range(6):
        raise ModelError(f"{path}: resample is {shown(resample)}; it must be 2 (bilinear), 3 (bicubic) …")
    if not isinstance(pad := preprocessor.get("do_pad_to_square", False), bool):
        raise ModelError(f"{path}: do_pad_to_square is {shown(pad)}; it must be true or false")


def read_categories(folder: Path) -> tuple[list[str], Taxonomy]:
    """The labels of a model folder and their tree, without opening its graph. Raises ModelError."""
    config = read_json(folder / CONFIG_FILE, ModelError)
    labels = _labels(config, folder / CONFIG_FILE)
    return labels, _taxonomy(config, labels, folder / CONFIG_FILE)


def _labels(config: dict[str, Any], path: Path) -> list[str]:
    id2label = config.get("id2label")
    if not isinstance(id2label, dict) or not id2label:
        raise ModelError(f"{path} has no id2label, the names of the model's outputs")
    try:
        labels = [id2label[str(i)] for i in range(len(id2label))]
    except KeyError as error:
        raise ModelError(f"{path}: id2label must count from 0 to {len(id2label) - 1}; {error} is missing") from None
    labels = [str(label) if type(label) is int else label for label in labels]
    if wrong := [label for label in labels if not is_name(label)]:
        raise ModelError(f"{path}: id2label has the label {shown(wrong[0])}; a label must be text in one line")
    return labels


def _taxonomy(config: dict[str, Any], labels: list[str], path: Path) -> Taxonomy:
    """Without a taxonomy the label's own name is its whole path."""
    if "taxonomy" not in config:
        return Taxonomy([[label] for label in labels])
    taxonomy = config["taxonomy"] if isinstance(config["taxonomy"], dict) else {}
    levels, paths = taxonomy.get("levels"), taxonomy.get("paths")
    if not isinstance(levels, list) or not all(map(is_name, levels)) or not isinstance(paths, dict):
        raise ModelError(f'{path}: taxonomy must be {{"levels": [names], "paths": {{label: [categories]}}}}')
    wrong = [label for label in labels if not _is_path(paths.get(label), len(levels))]
    if wrong or not levels:
        raise ModelError(f"{path}: taxonomy has no path of 1 to {len(levels)} categories for {', '.join(wrong[:5])}")
    return Taxonomy([paths[label] for label in labels], levels)


def _is_path(categories: object, num_levels: int) -> bool:
    return isinstance(categories, list) and 1 <= len(categories) <= num_levels and all(map(is_name, categories))


def _calibration(folder: Path, taxonomy: Taxonomy, session: onnxruntime.InferenceSession) -> Calibration | None:
    try:
        calibration = Calibration.load(folder, taxonomy.levels, taxonomy.paths)
    except CalibrationError as error:
        raise ModelError(str(error)) from None
    expected_dim = calibration.unknown.embedding_size if calibration and calibration.unknown else None
    if expected_dim is not None:
        dim = _embedding_size(session)
        if dim != expected_dim:
            actual = "no embeddings" if dim is None else f"embeddings of {dim} numbers"
            raise ModelError(
                f"{folder}: calibration.json compares embeddings of {expected_dim} numbers, but the "
                f"graph gives {actual}; run calibrate.py on this model again"
            )
    return calibration


def _attributes(folder: Path, session: onnxruntime.InferenceSession) -> "Attributes | None":
    if not (folder / ATTRIBUTES_FILE).exists():
        return None
    from .attributes import Attributes, AttributesError

    try:
        return Attributes.load(folder, _embedding_size(session))
    except AttributesError as error:
        raise ModelError(str(error)) from None


def attribute_names(folder: Path) -> list[str]:
    """The attributes that answers of this folder have, without opening its graph. Raises ModelError."""
    if not (folder / ATTRIBUTES_FILE).exists():
        return []
    from .attributes import Attributes, AttributesError

    try:
        return Attributes.names(folder)
    except AttributesError as error:
        raise ModelError(str(error)) from None


def _embedding_size(session: onnxruntime.InferenceSession) -> Any:
    """The numbers of an embedding; None where the graph gives none."""
    return {node.name: node.shape[-1] for node in session.get_outputs()}.get("embeddings")


def _check_session(session: onnxruntime.InferenceSession, size: dict[str, Any], num_labels: int, path: Path) -> None:
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    if list(inputs) != ["pixel_values"] or "logits" not in outputs:
        names = f"{', '.join(inputs)} -> {', '.join(outputs)}"
        raise ModelError(f"{path} computes {names}; it must compute pixel_values -> logits")
    if len(inputs["pixel_values"]) != 4:
        raise ModelError(f"{path} takes pixel_values of shape {inputs['pixel_values']}; it must be (batch, 3, h, w)")
    axes = [("batch", None), ("channels", 3), ("height", size["height"]), ("width", size["width"])]
    for (axis, expected), actual in zip(axes, inputs["pixel_values"], strict=True):
        if isinstance(actual, int) and actual != expected:
            cure = "export it with a dynamic batch" if expected is None else f"{PREPROCESSOR_FILE} gives {expected}"
            raise ModelError(f"{path} takes a fixed {axis} of {actual}: {cure}")
    if len(outputs["logits"]) != 2 or outputs["logits"][1] != num_labels:
        shape = outputs["logits"]
        raise ModelError(f"{path} gives logits of shape {shape}, but {CONFIG_FILE} names {num_labels} labels")
