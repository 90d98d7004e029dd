"""The models by name: where their pretrained weights live and how to build them, with or without.

A new model is one line in MODELS. Any Hugging Face Hub id or local folder works beside these names:

    python train.py --model mobilenet_v2 ...                      # weights from the Hub
    python train.py --model mobilenet_v2 --pretrained DIR ...     # weights from a local folder
    python train.py --model vit_tiny --from_scratch ...           # no weights

The CNNs come from timm through transformers' TimmWrapper, the two small ones from models/small_cnns.py. Every trained
folder loads with AutoModelForImageClassification.from_pretrained; the small ones where small_cnns is imported.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    Dinov2Config,
    MobileNetV2Config,
    PretrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
)
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import logging

from app.errors import UserError, one_line
from models.layers import head_of, is_head
from models.small_cnns import BasicCNNConfig, ResidualCNNConfig

# BatchNorm momentum for fine-tuning, in PyTorch's meaning: the weight of the newest batch.
BATCH_NORM_MOMENTUM = 0.05
# MobileNetV2 ships with 0.8, chosen for weeks of training on ImageNet; it starves a fine-tuned head.
MAX_CLASSIFIER_DROPOUT = 0.2
DEFAULT_MEAN = DEFAULT_STD = [0.5, 0.5, 0.5]
SHOWN_WEIGHTS = 3
# What a timm folder says about the labels and images of its last training, in transformers' words and in timm's.
LAST_TRAINING = ("id2label", "label2id", "label_names", "num_classes", "num_labels", "pretrained_cfg")


class TimmConfig(TimmWrapperConfig):
    """A TimmWrapperConfig that keeps its labels where every other model's config.json has them."""

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """With new labels the old ones and their number go, else transformers would mix the two."""
        if "id2label" in kwargs:
            kept = {key: value for key, value in config_dict.items() if key not in LAST_TRAINING}
            config_dict = {**kept, "num_classes": len(kwargs["id2label"])}
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict:
        return {**super().to_dict(), "id2label": self.id2label, "label2id": self.label2id}


def _timm(architecture: str) -> Callable[..., TimmConfig]:
    return partial(TimmConfig, architecture=architecture)


def _vit_tiny(**kwargs) -> ViTConfig:
    return ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, **kwargs)


def _dinov2_small(**kwargs) -> Dinov2Config:
    return Dinov2Config(hidden_size=384, num_attention_heads=6, **kwargs)


@dataclass(frozen=True)
class ModelSpec:
    """One row of the table: pretrained weights, the architecture without weights, and defaults that train well."""

    checkpoint: str | None  # Hub id; None: there are no pretrained weights
    config: Callable[..., PretrainedConfig]
    image_size: int
    learning_rate: float  # for fine-tuning with AdamW
    scratch_learning_rate: float = 1e-3  # the same without pretrained weights
    layer_decay: float = 1.0  # factor of the learning rate from layer to layer downwards, for fine-tuning
    min_image_size: int = 32


# fmt: off
MODELS = {
    "basic_cnn": ModelSpec(None, BasicCNNConfig, 96, 1e-3),
    "residual_cnn": ModelSpec(None, ResidualCNNConfig, 96, 1e-3),
    "vgg16": ModelSpec("timm/vgg16.tv_in1k", _timm("vgg16"), 224, 5e-5, scratch_learning_rate=1e-4),
    "resnet18": ModelSpec("timm/resnet18.a1_in1k", _timm("resnet18"), 224, 3e-4),
    "resnet50": ModelSpec("timm/resnet50.a1_in1k", _timm("resnet50"), 224, 3e-4),
    "inception_v3": ModelSpec("timm/inception_v3.tv_in1k", _timm("inception_v3"), 299, 3e-4, min_image_size=75),
    "efficientnet_lite0": ModelSpec("timm/tf_efficientnet_lite0.in1k", _timm("tf_efficientnet_lite0"), 128, 1e-3),
    "efficientnet_lite1": ModelSpec("timm/tf_efficientnet_lite1.in1k", _timm("tf_efficientnet_lite1"), 128, 1e-3),
    "efficientnet_lite2": ModelSpec("timm/tf_efficientnet_lite2.in1k", _timm("tf_efficientnet_lite2"), 128, 1e-3),
    "efficientnet_b0": ModelSpec("timm/efficientnet_b0.ra_in1k", _timm("efficientnet_b0"), 224, 5e-4),
    "mobilenet_v2": ModelSpec("google/mobilenet_v2_1.0_224", MobileNetV2Config, 128, 1e-3),
    "convnext_tiny": ModelSpec("timm/convnext_tiny.in12k_ft_in1k", _timm("convnext_tiny"), 224, 2e-4, layer_decay=0.9),
    "vit": ModelSpec("google/vit-base-patch16-224-in21k", ViTConfig, 224, 1e-4, 5e-4, layer_decay=0.85),
    "vit_tiny": ModelSpec("WinKawaks/vit-tiny-patch16-224", _vit_tiny, 224, 2e-4, layer_decay=0.85),
    "dinov2_small": ModelSpec(
        "facebook/dinov2-small", _dinov2_small, 224, 1e-4, layer_decay=0.85, min_image_size=28
    ),
}
# fmt: on


class ModelUnavailableError(UserError):
    """The model cannot be had here or at this image size; the message says which ways out there are."""


def build_model(
    name: str, labels: list[str], image_size: int, pretrained: str | None = None, from_scratch: bool = False
) -> PreTrainedModel:
    """A classifier over `labels` that reads (batch, 3, image_size, image_size) float32.

    name: a key of MODELS, a Hub id or a local folder. pretrained: weights to use instead of the name's own; if they
    were trained for other labels, the head starts anew and one line says so.
    Raises ModelUnavailableError if neither the network nor a local folder has the weights, or the model cannot read
    images of this size.
    """
    if name in MODELS and image_size < (smallest := MODELS[name].min_image_size):
        raise ModelUnavailableError(f"--image_size {image_size} is too small for {name}: it needs at least {smallest}")
    label_maps = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    source = None if from_scratch else pretrained or checkpoint_of(name)
    model = _from_pretrained(source, label_maps) if source else _from_scratch(name, image_size, label_maps)
    _set_image_size(model, image_size)
    _check_reads(model, image_size)
    _soften_regularization(model)
    return model


def load_trained(folder: Path) -> PreTrainedModel:
    """The model in a folder that train.py wrote. Raises ModelUnavailableError."""
    try:
        return AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(f"--model {folder} cannot be opened: {one_line(error)}") from error


def checkpoint_of(name: str) -> str | None:
    """The Hub id or folder behind a model's name; None where the table has no pretrained weights for it."""
    return MODELS[name].checkpoint if name in MODELS else name


def normalization_of(source: str | None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, for pixels in [0, 1], that the weights at `source` expect."""
    if source is None:
        return DEFAULT_MEAN, DEFAULT_STD
    try:
        saved, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError:  # a checkpoint without a preprocessor: timm's carry theirs in config.json
        saved = _timm_preprocessor(source)
    return saved.get("image_mean", DEFAULT_MEAN), saved.get("image_std", DEFAULT_STD)


def _timm_preprocessor(source: str) -> dict:
    saved = PretrainedConfig.get_config_dict(source)[0].get("pretrained_cfg", {})
    return {f"image_{name}": saved[name] for name in ("mean", "std") if name in saved}


def _from_scratch(name: str, image_size: int, label_maps: dict) -> PreTrainedModel:
    if name not in MODELS:
        raise ModelUnavailableError(f"--from_scratch needs a model of this table, not {name!r}: {', '.join(MODELS)}")
    config = MODELS[name].config(image_size=image_size, **label_maps)
    if not isinstance(config, TimmConfig):
        return AutoModelForImageClassification.from_config(config)
    # transformers would draw every weight from one normal distribution; the architecture's own start trains better.
    with torch.device("meta"):
        model = TimmWrapperForImageClassification(config)
    options = config.model_args or {}
    model.timm_model = timm.create_model(config.architecture, num_classes=config.num_labels, **options)
    return model


def _from_pretrained(source: str, label_maps: dict) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(source, **label_maps)
        family = AutoModelForImageClassification
        if isinstance(config, TimmWrapperConfig):
            config, family = TimmConfig.from_pretrained(source, **label_maps), TimmWrapperForImageClassification
        options = {"config": config, "ignore_mismatched_sizes": True, "output_loading_info": True}
        with _errors_only():  # transformers would print what the lines below say as a table
            model, info = family.from_pretrained(source, **options)
    except (OSError, SafetensorError) as error:
        if Path(source).is_dir():
            raise ModelUnavailableError(f"{source} is not a complete model folder: {one_line(error)}") from error
        raise ModelUnavailableError(
            f"no weights for {source!r}: not in the local cache, and the Hugging Face Hub does not answer or does not "
            "have it. Use --pretrained DIR with a folder that holds them (`python -m models.convert efficientnet_lite0`"
            " makes one without the Hub), or --from_scratch to train without."
        ) from error
    except ValueError as error:
        raise ModelUnavailableError(
            f"{source} is not an image classifier of transformers: {one_line(error)}"
        ) from error
    _warn_of_new_weights(model, source, {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
    _start_head_anew(model, source, list(label_maps["id2label"].values()))
    return model


def _warn_of_new_weights(model: PreTrainedModel, source: str, new_weights: set[str]) -> None:
    in_backbone = [name for name in model.state_dict() if name in new_weights and not is_head(name, model)]
    if in_backbone:
        shown = ", ".join(in_backbone[:SHOWN_WEIGHTS]) + (", …" if len(in_backbone) > SHOWN_WEIGHTS else "")
        print(f"warning: {source} lacks weights of the model, which start at random: {shown}", file=sys.stderr)


def _start_head_anew(model: PreTrainedModel, source: str, labels: list[str]) -> None:
    """Reset a head that was trained for other labels, lest their order carries over."""
    names = PretrainedConfig.get_config_dict(source)[0].get("id2label") or {}
    before = [names[key] for key in sorted(names, key=int)]
    if before == labels:
        return
    if len(before) == len(labels):  # transformers takes them for the same labels
        for module in head_of(model).modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    was = f"{len(before)} other labels" if before else "no labels"
    print(f"{source} was trained for {was}: the head starts anew for {len(labels)}")


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep transformers' warnings off the screen."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _set_image_size(model: PreTrainedModel, image_size: int) -> None:
    """Interpolate a transformer's position embeddings to another image size; a CNN only records the size."""
    inner = getattr(model, "timm_model", None)
    embeddings = getattr(model.base_model, "embeddings", None)
    try:
        if hasattr(inner, "set_input_size"):
            inner.set_input_size(img_size=(image_size, image_size))
            model.config.model_args = {**(model.config.model_args or {}), "img_size": image_size}
        elif isinstance(getattr(embeddings, "position_embeddings", None), torch.nn.Parameter):
            _interpolate_positions(embeddings, image_size)
    except (AssertionError, ValueError) as error:
        raise ModelUnavailableError(f"--image_size {image_size} does not fit this model: {one_line(error)}") from error
    model.config.image_size = image_size


def _interpolate_positions(embeddings: torch.nn.Module, image_size: int) -> None:
    patches = embeddings.patch_embeddings
    side = patches.projection.kernel_size[0]
    if image_size < side or image_size % side:
        nearest = max(1, round(image_size / side)) * side
        raise ValueError(f"its patches need a multiple of {side}; nearest: {nearest}")
    if tuple(patches.image_size) == (image_size, image_size):
        return
    _, positions, width = embeddings.position_embeddings.shape
    special = positions - patches.num_patches  # class token and the like, which have a position too
    tokens = torch.zeros(1, (image_size // side) ** 2 + special, width)
    with torch.no_grad():
        resized = embeddings.interpolate_pos_encoding(tokens, image_size, image_size)
    embeddings.position_embeddings = torch.nn.Parameter(resized.clone())
    patches.num_patches = (image_size // side) ** 2
    embeddings.image_size = patches.image_size = (image_size, image_size)


def _check_reads(model: PreTrainedModel, image_size: int) -> None:
    """Run one image through the model, so that a size that it cannot read is reported before the data is decoded."""
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(pixel_values=torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelUnavailableError(
            f"{type(model).__name__} cannot read images of --image_size {image_size}: {one_line(error)}"
        ) from error
    finally:
        model.train(was_training)


def _soften_regularization(model: PreTrainedModel) -> None:
    """Set BatchNorm and dropout to values that suit fine-tuning.

    transformers' MobileNets carry TensorFlow's BatchNorm momentum 0.997, which PyTorch reads as "keep 0.3% of the
    past": evaluation would use the statistics of the last batch. timm's ports from TensorFlow have 0.01, too slow for
    the few steps of a fine-tuning.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(module, torch.nn.Dropout):
            module.p = min(module.p, MAX_CLASSIFIER_DROPOUT)
