"""Join what a product's title says with what its image says: titles.onnx and titles.json beside a model.

    titles = Titles.load(folder, taxonomy)                                     # None for a folder without them
    joined = titles.join(probabilities, temperature, "Puma Men Logo T-shirt")  # Joined(…, answered_from="both", …)

titles.onnx reads the hashes of a title's n-grams and how often each occurs, and gives logits: TF-IDF and a linear
layer. titles.json says how much each of the two counts (a product of experts, Hinton 2002, whose weights are fitted on
products that neither model learned), how certain an answer must be at each level, and how little the two may agree
before a person has to look. `python -m training.titles` writes both files.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from .calibration import Calibration, CalibrationError, Decision, decide, model_hash, read_thresholds
from .errors import UserError, one_line
from .model_json import is_number, read_json, shown
from .onnx_check import GraphError, check_graph, limited_memory
from .probabilities import softmax
from .title_text import clean_title, ngrams
from .titled import BOTH, IMAGE, TITLE, TITLES_FILE, TITLES_SETTINGS, Joined

if TYPE_CHECKING:
    from .taxonomy import Taxonomy

VERSION = 1
CURE = "make it again with: python -m training.titles --model FOLDER --dataset DATASET --title_column NAME"
LEAST_LOG = -60.0


class TitlesError(UserError):
    """Titles that cannot be read with a model. The message is one line."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """How much image and title count, as fitted on products that neither model learned.

    image_weight: of the logarithm of the image's probabilities, at image_temperature and raised by image_floor, so that
    an image cannot rule out what it has hardly seen. title_weight: of the title's logits. lone_weight: of them where
    there is no image. least_known: the share of a title, by the weight of its n-grams, below which it says nothing.
    least_agreement: for each level of the taxonomy the chance that image and title, each alone, mean the same category,
    below which they contradict each other.
    """

    image_weight: float
    image_temperature: float
    image_floor: float
    title_weight: float
    lone_weight: float
    least_known: float
    least_agreement: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Titles:
    """The title model of a folder. Its methods may be called from several threads at once.

    decisions: for TITLE and BOTH the thresholds. content: the whole of titles.json.
    """

    session: onnxruntime.InferenceSession
    taxonomy: "Taxonomy"
    settings: JoinSettings
    decisions: Mapping[str, Calibration]
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, taxonomy: "Taxonomy") -> "Titles | None":
        """None for a folder without titles, or with those of another image model. Raises TitlesError."""
        path = folder / TITLES_SETTINGS
        if not path.exists():
            return None
        content = read_json(path, TitlesError)
        try:
            if content["version"] != VERSION:
                raise TitlesError(f"version {shown(content['version'])} is not {VERSION}")
            if other := _is_of_others(content, folder):
                print(f"{path} was made for another {other} than the one beside it: not used; {CURE}", file=sys.stderr)
                return None
            settings, decisions = _settings(content, taxonomy), _decisions(content, taxonomy)
        except (TitlesError, CalibrationError) as error:
            raise TitlesError(f"{path}: {error}; {CURE}") from None
        except OSError as error:
            raise TitlesError(f"{path}: {TITLES_FILE} cannot be read ({one_line(error)}); {CURE}") from None
        except (KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {one_line(error)}"
            raise TitlesError(f"{path} is not what training.titles writes ({problem})") from None
        graph = open_title_graph(folder / TITLES_FILE, len(taxonomy.paths))
        return cls(graph, taxonomy, settings, decisions, content)

    def logits(self, title: str | None) -> np.ndarray | None:
        """(labels,) float32; None for a title that says nothing to this model."""
        logits, known = title_logits(self.session, title)
        return logits if known > 0 and known >= self.settings.least_known else None

    def join(self, of_image: np.ndarray | None, temperature: float, title: str | None) -> Joined | None:
        """The answer from both, or from the one that is there; None without either.

        of_image: (labels,) float64, the image's probabilities, calibrated with this temperature; None without an image.
        """
        title_logits = self.logits(title)
        if title_logits is None:
            return None if of_image is None else Joined(of_image, IMAGE)
        of_title = softmax(self.settings.lone_weight * title_logits)
        if of_image is None:
            return Joined(of_title, TITLE, of_title)
        with np.errstate(divide="ignore"):  # a probability of 0 counts as a very small one
            image_logits = temperature * np.maximum(np.log(of_image), LEAST_LOG)
        joint = softmax(joint_logits(self.settings, image_logits, title_logits))
        return Joined(joint, BOTH, of_title, bool(contradict(self.settings, self.taxonomy, image_logits, title_logits)))

    def decide(self, joined: Joined, looks_unknown: bool) -> Decision:
        """What may be published of an answer from a title or from both.

        looks_unknown: whether the image alone would be called unknown. A title that is certain by itself overrules it.
        """
        if joined.contradicts:
            return Decision("review", [], [])
        if looks_unknown and joined.of_title is not None:
            alone = decide(self.decisions[TITLE], self.taxonomy, joined.of_title, None)
            if not alone.path:
                return Decision("unknown", [], [])
        return decide(self.decisions[joined.answered_from], self.taxonomy, joined.probabilities, None)


def title_logits(session: onnxruntime.InferenceSession, title: str | None) -> tuple[np.ndarray, float]:
    """(labels,) float32, and the share of the title, by the weight of its n-grams, that the model knows."""
    grams = ngrams(clean_title(title)) if title else None
    if not grams:
        return np.zeros(session.get_outputs()[0].shape[0], np.float32), 0.0
    hashes, counts = np.fromiter(grams, np.int64, len(grams)), np.fromiter(grams.values(), np.float32, len(grams))
    logits, known = session.run(["logits", "known"], {"hashes": hashes, "counts": counts})
    return logits, float(known)


def joint_logits(settings: JoinSettings, image_logits: np.ndarray, title_logits: np.ndarray) -> np.ndarray:
    """(..., labels) of each, before any temperature -> (..., labels) float64, calibrated."""
    of_image = softmax(image_logits / settings.image_temperature)
    return settings.image_weight * np.log(of_image + settings.image_floor) + settings.title_weight * title_logits


def contradict(
    settings: JoinSettings, taxonomy: "Taxonomy", image_logits: np.ndarray, title_logits: np.ndarray
) -> np.ndarray:
    """Whether the two mean different categories at some level: (..., labels) logits of each -> (...) bool."""
    of_image, of_title = (
        softmax(image_logits / settings.image_temperature),
        softmax(settings.lone_weight * title_logits),
    )
    levels = enumerate(settings.least_agreement)
    return np.any([agreement(taxonomy, level, of_image, of_title) < least for level, least in levels], axis=0)


def agreement(taxonomy: "Taxonomy", level: int, of_image: np.ndarray, of_title: np.ndarray) -> np.ndarray:
    """The chance that both mean the same category of a level, were they independent: (..., labels) of each -> (...)."""
    category = np.eye(taxonomy.nodes[level].max() + 1)[taxonomy.nodes[level]]
    return ((of_image @ category) * (of_title @ category)).sum(axis=-1)


def open_title_graph(path: Path, num_labels: int) -> onnxruntime.InferenceSession:
    """Checked and run once. Raises TitlesError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters arrives as an exception
    try:
        check_graph(path)
        with limited_memory(path):
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            (logits,) = session.run(["logits"], {"hashes": np.zeros(1, np.int64), "counts": np.ones(1, np.float32)})
    except GraphError as error:
        raise TitlesError(f"{path} {error}") from None
    except Exception as error:  # onnxruntime's exceptions have no public base class
        raise TitlesError(f"{path} is not a usable model of titles: {one_line(error)}; {CURE}") from None
    if logits.shape != (num_labels,) or not np.isfinite(logits).all():
        raise TitlesError(f"{path} gives logits of shape {logits.shape}; the model has {num_labels} labels: {CURE}")
    return session


def _is_of_others(content: Mapping[str, Any], folder: Path) -> str:
    """Which file beside titles.json is not the one that it was made for, "" if both are."""
    parents = {"model.onnx": content["model_sha256"], TITLES_FILE: content["titles_sha256"]}
    return next((name for name, parent in parents.items() if model_hash(folder / name) != parent), "")


def _settings(content: Mapping[str, Any], taxonomy: "Taxonomy") -> JoinSettings:
    agreement_by_level = content["least_agreement"]
    numbers = {name: content[name] for name in JoinSettings.__slots__ if name != "least_agreement"}
    for name, value in {**numbers, **agreement_by_level}.items():
        if not is_number(value) or value < 0:
            raise TitlesError(f"{name} is {shown(value)}; it must be a number of at least 0")
    if numbers["image_temperature"] <= 0:
        raise TitlesError("image_temperature must be above 0")
    if list(agreement_by_level) != taxonomy.levels:
        raise TitlesError(f"least_agreement must be given for {', '.join(taxonomy.levels)}")
    return JoinSettings(**numbers, least_agreement=tuple(agreement_by_level.values()))


def _decisions(content: Mapping[str, Any], taxonomy: "Taxonomy") -> dict[str, Calibration]:
    target = content["target_precision"]
    if not is_number(target) or not 0 <= target <= 1:
        raise TitlesError(f"target_precision is {shown(target)}; it must be a number from 0 to 1")
    return {
        source: Calibration(
            1.0, target, read_thresholds(content["thresholds"][source], taxonomy.levels, taxonomy.paths)
        )
        for source in (TITLE, BOTH)
    }
