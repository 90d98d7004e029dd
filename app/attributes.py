"""Attributes of a product beside its category, such as color: attributes.json and attributes.npy; NumPy only.

    attributes = Attributes.load(folder, embedding_size=1280)       # None for a folder without them
    probabilities = attributes.probabilities(embeddings, colors)    # (rows, labels of all attributes)
    attributes.answers(probabilities[0], "ok")      # {"baseColour": Attribute("Navy Blue", 0.93, "ok")}

One hidden layer reads the embedding of the image and where which colors lie in it, because a network that learned
categories has learned to look past colors. Above it each attribute has a softmax with its own temperature, and each
label the least confidence at which it is right often enough. The graph of the category is not touched.
`python -m training.attributes` writes both files.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import is_of_other_model, read_numbers
from .errors import UserError, one_line
from .model_json import is_name, is_number, read_json, shown
from .parents import ATTRIBUTES_FILE
from .prediction import ANSWERED_FROM, ATTRIBUTE_SUFFIXES, ATTRIBUTES, CSV_COLUMNS, Attribute, Prediction
from .probabilities import softmax

WEIGHTS_FILE = "attributes.npy"
VERSION = 1
CURE = "make it again with: python -m training.attributes --model FOLDER --dataset DATASET --attributes NAME …"
SAMPLES = 20  # places of an image along each side at which its color is looked at
ZONES = 4  # rings from the middle of the image to its edge, each with a histogram of its own
OTHER_COLUMNS = ("image_path", "file", "box", "out_of_stock")  # that tables of answers have before them
LEVELS = 32  # of each channel
# Of CIELAB: from which chroma on, how many hues and how many steps of lightness; the first ring is gray.
CHROMA_RINGS = ((0, 1, 8), (4, 8, 4), (12, 12, 4), (28, 16, 4))
NUM_COLORS = sum(hues * steps for _, hues, steps in CHROMA_RINGS)
COLOR_INPUTS = ZONES * NUM_COLORS
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65


class AttributesError(UserError):
    """Attributes that cannot be used with a model. The message is one line."""


@dataclass(frozen=True, slots=True)
class Head:
    """One attribute. temperature: of its softmax. thresholds: by label the least confidence that may be published;
    None if no confidence is enough."""

    labels: list[str]
    temperature: float
    thresholds: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """The attributes of a folder. Its methods may be called from several threads at once.

    heads: by name, in the order of the outputs. hidden: (inputs + 1, units) float32 and output: (units + 1, labels of
    all attributes) float32, the last row of each being the bias. content: the whole of attributes.json.
    """

    heads: dict[str, Head]
    hidden: np.ndarray
    output: np.ndarray
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, embedding_size: int | None) -> "Attributes | None":
        """None for a folder without attributes, or with those of another model. Raises AttributesError.

        embedding_size: what the folder's graph gives, None if nothing.
        """
        path = folder / ATTRIBUTES_FILE
        if not path.exists():
            return None
        with _named(path):
            content, heads = _read(path)
            if is_of_other_model(str(content["model_sha256"]), folder):
                print(
                    f"{path} was made for another model.onnx than the one beside it: not used; {CURE}", file=sys.stderr
                )
                return None
            inputs, units = _count(content["embedding_size"]), _count(content["hidden"])
            if inputs != embedding_size:
                raise AttributesError(f"it reads embeddings of {inputs} numbers, and the graph gives {embedding_size}")
            return cls(heads, *_weights(folder, inputs + COLOR_INPUTS, units, heads), content)

    @staticmethod
    def names(folder: Path) -> list[str]:
        """Those that `load` would give, without the weights. Raises AttributesError."""
        path = folder / ATTRIBUTES_FILE
        if not path.exists():
            return []
        with _named(path):
            content, heads = _read(path)
            return [] if is_of_other_model(str(content["model_sha256"]), folder) else list(heads)

    def probabilities(self, embeddings: np.ndarray, colors: np.ndarray) -> np.ndarray:
        """(rows, labels of all attributes) float64, calibrated; the labels of each attribute sum to 1.

        embeddings: (rows, dim) float32. colors: of color_histograms.
        """
        logits = self.logits(embeddings, colors)
        return np.hstack(
            [
                softmax(part / head.temperature)
                for part, head in zip(self.split(logits), self.heads.values(), strict=True)
            ]
        )

    def logits(self, embeddings: np.ndarray, colors: np.ndarray) -> np.ndarray:
        """(rows, labels of all attributes) float64, before the temperatures."""
        inputs = np.hstack([embeddings, colors])
        units = np.maximum(inputs @ self.hidden[:-1] + self.hidden[-1], 0)
        return (units @ self.output[:-1] + self.output[-1]).astype(np.float64)

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """The last axis by attribute."""
        ends = np.cumsum([len(head.labels) for head in self.heads.values()])
        return np.split(values, ends[:-1], axis=-1)

    def answers(self, probabilities: np.ndarray, status: str) -> dict[str, Attribute]:
        """What to say of one product. probabilities: (labels of all attributes,). status: of its category; what is
        "unknown" has no attribute that may be published."""
        answers = {}
        for (name, head), of_head in zip(self.heads.items(), self.split(probabilities), strict=True):
            best = int(of_head.argmax())
            label, confidence = head.labels[best], float(of_head[best])
            least = head.thresholds[label]
            own = "ok" if least is not None and confidence >= least else "review"
            answers[name] = Attribute(label, confidence, "unknown" if status == "unknown" else own)
        return answers


def color_histograms(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Which colors lie where: (rows, COLOR_INPUTS) float32, the root of the share of each color in each zone.

    pixels: (rows, 3, height, width) float32, normalized with this mean and deviation. The root (the Hellinger kernel)
    keeps a small, telling color from drowning in a white background.
    """
    rows, _, height, width = pixels.shape
    at_y, at_x = (((np.arange(SAMPLES) + 0.5) * side / SAMPLES).astype(int) for side in (height, width))
    scale, shift = (np.reshape(values, (3, 1, 1)).astype(np.float32) for values in (std, mean))
    levels = (pixels[:, :, at_y[:, None], at_x] * scale + shift) * LEVELS
    red, green, blue = np.clip(np.nan_to_num(levels), 0, LEVELS - 1).astype(np.intp).swapaxes(0, 1)
    colors = color_of_level()[(red * LEVELS + green) * LEVELS + blue] + zone_of_sample() * NUM_COLORS
    colors += np.arange(rows)[:, None, None] * COLOR_INPUTS
    counts = np.bincount(colors.ravel(), minlength=rows * COLOR_INPUTS).reshape(rows, COLOR_INPUTS)
    return np.sqrt(counts / SAMPLES**2).astype(np.float32)


@cache
def zone_of_sample() -> np.ndarray:
    """(SAMPLES, SAMPLES) the number of each sample's zone, 0 in the middle."""
    distance = np.abs(np.arange(SAMPLES) - (SAMPLES - 1) / 2) / (SAMPLES / 2)
    return (np.maximum(distance[:, None], distance) * ZONES).astype(np.intp)


@cache
def color_of_level() -> np.ndarray:
    """(LEVELS³,) for each red, green and blue the number of its color, by chroma, hue and lightness of CIELAB."""
    value = (np.arange(LEVELS) + 0.5) / LEVELS
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    rgb = np.stack(np.meshgrid(linear, linear, linear, indexing="ij"), -1).reshape(-1, 3)
    xyz = rgb @ TO_XYZ.T / TO_XYZ.sum(axis=1)  # of white
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    chroma, hue = np.hypot(a, b), np.arctan2(b, a) / (2 * np.pi) % 1
    colors, start = np.zeros(LEVELS**3, dtype=np.intp), 0
    for least, hues, steps in CHROMA_RINGS:
        step = np.minimum(lightness / 100 * steps, steps - 1).astype(np.intp)
        colors = np.where(chroma >= least, start + (hue * hues).astype(np.intp) % hues * steps + step, colors)
        start += hues * steps
    return colors


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of what is wrong in which file it is, and what to do."""
    try:
        yield
    except AttributesError as error:
        raise AttributesError(f"{path}: {error}; {CURE}") from None
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {one_line(error)}"
        raise AttributesError(f"{path} is not what training.attributes writes ({problem})") from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Head]]:
    content = read_json(path, AttributesError)
    if content["version"] != VERSION:
        raise AttributesError(f"version {shown(content['version'])} is not {VERSION}")
    return content, _heads(content["attributes"])


def _heads(content: Mapping[str, Any]) -> dict[str, Head]:
    if not isinstance(content, dict) or not content:
        raise AttributesError("it has no attributes")
    check_names(list(content))
    return {name: _head(name, head) for name, head in content.items()}


def check_names(names: Sequence[str]) -> None:
    """Raises AttributesError for names that cannot be columns beside those of an answer."""
    taken = {*CSV_COLUMNS, *Prediction().to_dict(), ANSWERED_FROM, ATTRIBUTES, *OTHER_COLUMNS}
    for name in names:
        if not is_name(name):
            raise AttributesError(f"the attribute {shown(name)} must have a name of one line")
        if name.lower() in taken or name.lower().endswith(ATTRIBUTE_SUFFIXES[1:]):
            raise AttributesError(f"an attribute cannot be called {name}, which is a column of the answer: rename it")
    lowered = [name.lower() for name in names]
    if doubled := [name for name in names if lowered.count(name.lower()) > 1]:
        raise AttributesError(f"the attribute {doubled[0]} is named twice")


def _head(name: str, content: Mapping[str, Any]) -> Head:
    labels, temperature, thresholds = content["labels"], content["temperature"], content["thresholds"]
    if not isinstance(labels, list) or not labels or not all(map(is_name, labels)) or len(set(labels)) < len(labels):
        raise AttributesError(f"the labels of {name} must be different names")
    if not is_number(temperature) or temperature <= 0:
        raise AttributesError(f"the temperature of {name} is {shown(temperature)}; it must be a number above 0")
    for label in labels:
        least = thresholds[label]
        if least is not None and not (is_number(least) and 0 <= least <= 1):
            raise AttributesError(f"the threshold of {shown(label)} is {shown(least)}; it must be a number from 0 to 1")
    return Head(labels, float(temperature), thresholds)


def _count(value: object) -> int:
    if type(value) is not int or not 0 < value <= 2**16:
        raise AttributesError(f"a size is {shown(value)}; it must be a whole number above 0")
    return value


def _weights(folder: Path, inputs: int, units: int, heads: Mapping[str, Head]) -> tuple[np.ndarray, np.ndarray]:
    """The layers, each (inputs + 1, outputs) float32; in the file they lie one after the other, row by row."""
    labels = sum(len(head.labels) for head in heads.values())
    numbers = read_numbers(folder / WEIGHTS_FILE, AttributesError)
    first = (inputs + 1) * units
    if numbers.ndim != 1 or len(numbers) != first + (units + 1) * labels:
        raise AttributesError(f"{WEIGHTS_FILE} holds {numbers.shape} numbers, not {first + (units + 1) * labels}")
    weights = numbers.astype(np.float32)
    return weights[:first].reshape(inputs + 1, units), weights[first:].reshape(units + 1, labels)
