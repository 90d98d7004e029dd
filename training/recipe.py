"""How a model is trained: the recipe's options beside TrainingArguments, and the defaults of these."""

from dataclasses import dataclass, field

import numpy as np

from training.augment.batch import AUGMENTATIONS
from training.augment.mixup import PerSampleMix
from training.losses import CLASS_WEIGHTS, LOSSES, Loss

SAMPLERS = ("uniform", "balanced")

# TrainingArguments that train well here; any of them can be given on the command line.
TRAINING_DEFAULTS = {
    "num_train_epochs": 12,
    "per_device_train_batch_size": 64,
    "per_device_eval_batch_size": 128,
    "learning_rate": None,  # the model's own, from models/registry.py
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "label_smoothing_factor": 0.1,
    "optim": "adamw_torch_fused",
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "accuracy",
    "restore_callback_states_from_checkpoint": True,  # a resumed run stops early when the whole one would have
    "logging_nan_inf_filter": False,  # the trainer stops there instead, and without a wait for the GPU in every step
    "logging_steps": 50,
}


@dataclass
class Recipe:
    """How to train, beside what TrainingArguments say."""

    augment: str = field(default="basic", metadata={"help": "changes to each image", "choices": list(AUGMENTATIONS)})
    mixup: float = field(default=0.0, metadata={"help": "blend images and labels, Beta(ALPHA, ALPHA); 0: off"})
    cutmix: float = field(default=0.0, metadata={"help": "paste a box of another image, Beta(ALPHA, ALPHA); 0: off"})
    random_erasing: float = field(default=0.0, metadata={"help": "share of the images that lose a box to noise"})
    class_weights: str = field(
        default="none",
        metadata={"help": "weight of an image by its class", "choices": list(CLASS_WEIGHTS)},
    )
    sampler: str = field(
        default="uniform", metadata={"help": "balanced draws every class equally often", "choices": list(SAMPLERS)}
    )
    loss: str = field(default="cross_entropy", metadata={"help": "loss function", "choices": list(LOSSES)})
    logit_adjustment: float = field(
        default=0.0,
        metadata={"help": "adds TAU * log(class prior) to the logits while training"},
    )
    layer_decay: float | None = field(
        default=None, metadata={"help": "factor of the learning rate from layer to layer downwards; default by model"}
    )
    freeze_backbone: int = field(default=0, metadata={"help": "epochs in which the head alone learns"})
    ema: float = field(default=0.0, metadata={"help": "decay of the weights' moving average, such as 0.999; 0: off"})
    teacher: str | None = field(
        default=None, metadata={"help": "model folder whose probabilities the model also learns (distillation)"}
    )
    distill_weight: float = field(default=0.5, metadata={"help": "the teacher's share of the loss"})
    distill_temperature: float = field(default=2.0, metadata={"help": "softens the teacher's probabilities"})

    def __post_init__(self):
        """Raises ValueError with the option, its value and what is allowed."""
        for name in ("mixup", "cutmix", "logit_adjustment", "freeze_backbone"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("random_erasing", "distill_weight"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "from 0 to 1")
        _check("ema", self.ema, 0 <= self.ema < 1, "from 0 to below 1, such as 0.999")
        _check("distill_temperature", self.distill_temperature, self.distill_temperature > 0, "above 0")
        if self.layer_decay is not None:
            _check("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "above 0 and at most 1")

    def training_loss(self, counts: np.ndarray, smoothing: float) -> Loss:
        """The loss of the training steps; counts: training images a class."""
        return Loss(self.loss, counts, self.class_weights, smoothing, self.logit_adjustment)

    def mixing(self) -> PerSampleMix | None:
        return PerSampleMix(self.mixup, self.cutmix) if self.mixup or self.cutmix else None


def _check(name: str, value: float, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"--{name} must be {allowed}, not {value:g}")
