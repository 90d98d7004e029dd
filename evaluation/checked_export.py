"""Write the graphs of a model folder, each checked on images of the validation split before it appears."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from app.calibration import read_json
from app.classifier import Classifier
from app.errors import UserError
from app.files import replacing
from app.images import load_image, preprocess
from app.model_files import CONFIG_FILE, INT8_FILE, MODEL_FILE, PREPROCESSOR_FILE, ModelError
from data_prep.pipeline.prepared import load_prepared
from evaluation.predictions import encoded, read_pixels, run_split, spread, undecoded
from models.export_onnx import CHECKED_IMAGES, ExportError, export_onnx
from models.quantize import quantize
from models.registry import load_trained

RANGE_IMAGES = 256  # training images that give the ranges of int8 activations
MIN_AGREEMENT = 0.99  # of the int8 graph's labels with the float graph's
MAX_LOSS = 0.003  # accuracy that int8 may cost


def export_folder(folder: Path, dataset: str) -> None:
    """Write model.onnx from the safetensors. Raises ExportError or UserError."""
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"--model {folder}: no model.safetensors to export; take the folder that train.py wrote")
    model = load_trained(folder)
    pixels = validation_pixels(folder, model.config.taxonomy["levels"][-1], dataset)
    difference = export_onnx(model, pixels, folder / MODEL_FILE)
    size = (folder / MODEL_FILE).stat().st_size / 1e6
    print(f"{folder / MODEL_FILE}: {size:.1f} MB, probabilities within {difference:.0e} of torch's")


def validation_pixels(folder: Path, label: str, dataset: str) -> np.ndarray:
    """Validation images as the model reads them: (images, 3, height, width) float32."""
    preprocessor = read_json(folder / PREPROCESSOR_FILE, ModelError)
    split = undecoded(load_prepared(dataset, label, ["validation"])["validation"])
    images = encoded(split, spread(len(split), CHECKED_IMAGES))
    side = max(preprocessor["size"].values())
    return np.stack([preprocess(load_image(image, side), preprocessor) for image in images])


def quantize_folder(folder: Path, dataset: str) -> None:
    """Write model.int8.onnx if it is as good as model.onnx on validation. Raises ExportError or UserError."""
    classifier = Classifier.load(folder, precision="fp32", calibrated=False)
    training = read_pixels(classifier, dataset, "train", RANGE_IMAGES)
    check = Int8Check(classifier, folder, dataset)
    with replacing(folder / INT8_FILE) as partial:
        float_layers = quantize(folder / MODEL_FILE, partial, training, check)
        if float_layers is None:
            raise ExportError(f"no int8 graph was good enough; the last {check.verdict}")
    size = (folder / INT8_FILE).stat().st_size / 1e6
    print(f"{folder / INT8_FILE}: {size:.1f} MB, {len(float_layers)} layers in float; {check.verdict}")


class Int8Check:
    """Compares int8 graphs with the float graph on the validation split. verdict: what the last one loses."""

    def __init__(self, classifier: Classifier, folder: Path, dataset: str):
        self.folder, self.dataset = folder, dataset
        split = run_split(classifier, dataset, "validation")
        self.expected, self.truth = split.logits.argmax(axis=1), split.truth
        self.verdict = ""

    def __call__(self, candidate: Path, float_layers: int) -> bool:
        """Whether the graph in the file `candidate` is good enough."""
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(candidate, Path(scratch, MODEL_FILE))
            for name in (CONFIG_FILE, PREPROCESSOR_FILE):
                shutil.copy(self.folder / name, scratch)
            predicted = run_split(Classifier.load(scratch), self.dataset, "validation").logits.argmax(axis=1)
        agreement = float((predicted == self.expected).mean())
        loss = float((self.expected == self.truth).mean() - (predicted == self.truth).mean())
        self.verdict = (
            f"agrees with fp32 on {agreement:.2%} of {len(self.truth)} validation images (at least "
            f"{MIN_AGREEMENT:.0%}) and loses {100 * loss:.2f} points of accuracy (at most {100 * MAX_LOSS:.1f})"
        )
        print(f"with {float_layers} layers in float it {self.verdict}", file=sys.stderr)
        return agreement >= MIN_AGREEMENT and loss <= MAX_LOSS
