"""The models by name: where their pretrained weights live and how to build them from scratch.

A new model is one line in MODELS. Any Hugging Face Hub id or local folder works beside these names:

    python train.py --model mobilenet_v2 ...                      # weights from the Hub
    python train.py --model mobilenet_v2 --pretrained DIR ...     # weights from a local folder
    python train.py --model vit_tiny --from_scratch ...           # no weights
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForImageClassification,
    MobileNetV2Config,
    PretrainedConfig,
    PreTrainedModel,
    ViTConfig,
)
from transformers.image_processing_base import ImageProcessingMixin

# BatchNorm momentum for fine-tuning, in PyTorch's meaning: the weight of the newest batch.
BATCH_NORM_MOMENTUM = 0.05
# MobileNetV2 ships with 0.8, chosen for weeks of training on ImageNet; it starves a fine-tuned head.
MAX_CLASSIFIER_DROPOUT = 0.2
DEFAULT_MEAN = DEFAULT_STD = [0.5, 0.5, 0.5]


@dataclass(frozen=True)
class ModelSpec:
    """One row of the table: pretrained weights, the architecture without weights, and defaults that train well."""

    checkpoint: str
    config: Callable[..., PretrainedConfig]
    image_size: int
    learning_rate: float


def _tiny_vit(**kwargs) -> ViTConfig:
    return ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, **kwargs)


MODELS = {
    "mobilenet_v2": ModelSpec("google/mobilenet_v2_1.0_224", MobileNetV2Config, image_size=128, learning_rate=1e-3),
    "vit": ModelSpec("google/vit-base-patch16-224-in21k", ViTConfig, image_size=224, learning_rate=5e-5),
    "vit_tiny": ModelSpec("WinKawaks/vit-tiny-patch16-224", _tiny_vit, image_size=224, learning_rate=2e-4),
}


class ModelNotAvailable(ValueError):
    """The weights cannot be had here; the message says which ways out there are."""


def build_model(
    name: str, labels: list[str], image_size: int, pretrained: str | None = None, from_scratch: bool = False
) -> PreTrainedModel:
    """A classifier over `labels` that reads (batch, 3, image_size, image_size) float32.

    name: a key of MODELS, a Hub id or a local folder. pretrained: weights to use instead of the name's own.
    Raises ModelNotAvailable if neither the network nor a local folder has the weights.
    """
    label_maps = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    if from_scratch:
        model = _from_scratch(name, image_size, label_maps)
    else:
        model = _from_pretrained(pretrained or checkpoint_of(name), label_maps)
    _set_image_size(model, image_size)
    _soften_regularisation(model)
    return model


def checkpoint_of(name: str) -> str:
    """The Hub id or folder behind a model's name."""
    return MODELS[name].checkpoint if name in MODELS else name


def normalisation_of(source: str | None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, for pixels in [0, 1], that the weights at `source` expect."""
    if source is None:
        return DEFAULT_MEAN, DEFAULT_STD
    try:
        saved, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError:  # a checkpoint without a preprocessor: timm's carry theirs in config.json
        saved = {}
    return saved.get("image_mean", DEFAULT_MEAN), saved.get("image_std", DEFAULT_STD)


def _from_scratch(name: str, image_size: int, label_maps: dict) -> PreTrainedModel:
    if name not in MODELS:
        raise ModelNotAvailable(f"--from_scratch needs a model of this table, not {name!r}: {', '.join(MODELS)}")
    config = MODELS[name].config(image_size=image_size, **label_maps)
    return AutoModelForImageClassification.from_config(config)


def _from_pretrained(source: str, label_maps: dict) -> PreTrainedModel:
    try:
        return AutoModelForImageClassification.from_pretrained(source, ignore_mismatched_sizes=True, **label_maps)
    except OSError as error:
        if Path(source).is_dir():
            raise ModelNotAvailable(f"{source} is not a complete model folder: {_first_line(error)}") from error
        raise ModelNotAvailable(
            f"no weights for {source!r}: not in the local cache, and the Hugging Face Hub does not answer or does not "
            "have it. Use --pretrained DIR with a folder that holds them, or --from_scratch to train without."
        ) from error


def _set_image_size(model: PreTrainedModel, image_size: int) -> None:
    """Interpolate a ViT's position embeddings to another image size; a CNN only records the size."""
    embeddings = getattr(getattr(model, "vit", None), "embeddings", None)
    if embeddings is not None and tuple(embeddings.patch_embeddings.image_size) != (image_size, image_size):
        patches = torch.zeros(1, (image_size // model.config.patch_size) ** 2 + 1, model.config.hidden_size)
        with torch.no_grad():
            resized = embeddings.interpolate_pos_encoding(patches, image_size, image_size)
        embeddings.position_embeddings = torch.nn.Parameter(resized.clone())
        embeddings.image_size = embeddings.patch_embeddings.image_size = (image_size, image_size)
    model.config.image_size = image_size


def _soften_regularisation(model: PreTrainedModel) -> None:
    """Make BatchNorm and dropout fit for fine-tuning.

    transformers' MobileNets carry TensorFlow's BatchNorm momentum 0.997, which PyTorch reads as «keep 0.3% of the
    past»: evaluation would use the statistics of the last batch.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = min(module.momentum, BATCH_NORM_MOMENTUM)
        elif isinstance(module, torch.nn.Dropout):
            module.p = min(module.p, MAX_CLASSIFIER_DROPOUT)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
