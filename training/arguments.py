"""The options of train.py: what to train on what, the recipe, and this project's defaults of TrainingArguments.

parser = build_parser("Fine-tune one model.")
arguments, recipe, training = parse(parser, ["--dataset", "data/kaggle_fashion", "--ema", "0.999"])
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import HfArg
from transformers.utils import is_torch_tf32_available

from app.errors import OneLineParser, UserError, add_version, one_line
from models.registry import MODELS, checkpoint_of, normalization_of
from training.augment.batch import AUGMENTATIONS
from training.losses import CLASS_WEIGHTS, LOSSES
from training.own_data import OwnData
from training.sampler import SAMPLERS
from training.usage import check_model_name, given_options, unknown_option

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
    "report_to": "none",
}
# What ImageTrainer needs; not the user's to change.
FIXED = {
    "remove_unused_columns": False,
    "label_names": ["labels", "coarser_labels"],
}
UNNAMED_OUTPUT = "trainer_output"  # TrainingArguments' default
WEIGHTS_WITH_SMOOTHING = (
    "note: with --class_weights and label smoothing each image's whole loss has the weight of its class; torch's own "
    "loss would give the smoothed part the weights of the other classes (pytorch#104776)"
)


@dataclass
class Arguments:
    """What to train on what; how is up to Recipe and TrainingArguments."""

    dataset: str = HfArg(help="class folders, a .zip or .tar, a table, or a folder that a data_prep module wrote")
    model: str = HfArg(default="mobilenet_v2", help=f"{', '.join(MODELS)}, a Hugging Face Hub id or a local folder")
    label: str = HfArg(default="label", help="label column to learn, such as articleType")
    pretrained: str | None = HfArg(default=None, help="weights to start from: local folder or Hub id")
    from_scratch: bool = HfArg(default=False, help="start without pretrained weights")
    image_size: int | None = HfArg(default=None, help="side of the model's input in pixels")
    title_column: str | None = HfArg(
        default=None, help="column of the products' titles, from which a text model beside the image model learns too"
    )
    early_stopping_patience: int = HfArg(
        default=5, help="stop after this many evaluations without a better validation accuracy"
    )
    export_onnx: bool = HfArg(default=True, help="write model.onnx, which predict.py reads")
    cache_dir: str | None = HfArg(default=None, help="folder for decoded images; default: DATASET/cache")
    folds: int = HfArg(default=0, help="cross-validate: the number of trainings on train and validation")
    fold: int | None = HfArg(default=None, help="train only this one of the --folds, from 0")
    attributes: list[str] = HfArg(
        default_factory=list,
        help="label columns, such as gender, that the model says beside the category (training/attributes.py)",
    )
    scorecard: bool = HfArg(default=True, help="calibrate at the end, and say how good the model is")
    frozen: bool = HfArg(default=False, help="fit a linear layer on frozen pretrained features: a minute, not an hour")
    time_limit: str | None = HfArg(
        default=None, help="time for the whole command, such as 30m or 1h30m: fits image size and epochs to it"
    )
    tune: int = HfArg(default=0, help="search rate, decay, size and augmentation by this many short trials first")
    lr_find: bool = HfArg(default=False, help="draw the loss over the learning rate, and train nothing")
    progress_file: str | None = HfArg(
        default=None, help="file that gets a JSON line for each step of --frozen (training/progress.py)"
    )
    streaming: bool = HfArg(default=False, help="--dataset is Parquet shards: a folder, hf://, s3://, another address")

    def normalization(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation that the model's first weights expect."""
        return normalization_of(None if self.from_scratch else self.pretrained or checkpoint_of(self.model))

    def starts_blank(self) -> bool:
        """Whether no pretrained weights are there to start from."""
        return self.from_scratch or not (self.pretrained or checkpoint_of(self.model))


@dataclass
class Recipe:
    """How to train, beside what TrainingArguments say."""

    augment: str = HfArg(default="basic", help="changes to each image", metadata={"choices": list(AUGMENTATIONS)})
    mixup: float = HfArg(default=0.0, help="blend images and labels, Beta(ALPHA, ALPHA); 0: off")
    cutmix: float = HfArg(default=0.0, help="paste a box of another image, Beta(ALPHA, ALPHA); 0: off")
    random_erasing: float = HfArg(default=0.0, help="share of the images that lose a box to noise")
    class_weights: str = HfArg(
        default="none", help="weight of an image by its class", metadata={"choices": list(CLASS_WEIGHTS)}
    )
    sampler: str = HfArg(
        default="uniform", help="balanced draws every class equally often", metadata={"choices": list(SAMPLERS)}
    )
    loss: str = HfArg(default="cross_entropy", help="loss function", metadata={"choices": list(LOSSES)})
    logit_adjustment: float = HfArg(default=0.0, help="add TAU * log(class prior) to the logits while training")
    layer_decay: float | None = HfArg(
        default=None, help="factor of the learning rate from layer to layer downwards; default by model"
    )
    freeze_backbone: int = HfArg(default=0, help="epochs in which only the head learns")
    fit_head: bool = HfArg(default=False, help="begin with a head fitted on the frozen features, not at random")
    ema: float = HfArg(default=0.0, help="decay of the weights' moving average, such as 0.999; 0: off")
    teacher: list[str] = HfArg(
        default_factory=list, help="model folders whose mean probabilities the model also learns (distillation)"
    )
    distill_weight: float = HfArg(default=0.5, help="the teacher's share of the loss")
    distill_temperature: float = HfArg(default=2.0, help="softens the teacher's probabilities")
    teach_words: list[str] = HfArg(
        default_factory=list,
        help="columns, such as title, whose words the embedding also learns (training/title_words.py)",
    )
    word_weight: float = HfArg(default=0.3, help="the words' loss beside the labels' with --teach_words")

    def __post_init__(self):
        """Raises UserError with the option, its value and what is allowed."""
        for name in ("mixup", "cutmix", "logit_adjustment", "freeze_backbone"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("random_erasing", "distill_weight"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        self._check("ema", 0 <= self.ema < 1, "from 0 to below 1, such as 0.999")
        self._check("distill_temperature", self.distill_temperature > 0, "above 0")
        self._check("word_weight", self.word_weight >= 0, "0 or more")
        if self.teach_words and (self.mixup or self.cutmix):
            raise UserError("--teach_words needs one title per image: it does not go with --mixup or --cutmix")
        if self.layer_decay is not None:
            self._check("layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1")

    def _check(self, name: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise UserError(f"--{name} must be {allowed}, not {getattr(self, name):g}")


class Parser(OneLineParser, HfArgumentParser):
    """Reads the command line into dataclasses."""


def build_parser(description: str) -> Parser:
    parser = Parser(
        (Arguments, Recipe, TrainingArguments, OwnData), prog="train.py", description=description, allow_abbrev=False
    )
    add_version(parser)
    use_cpu = not torch.accelerator.is_available()  # transformers refuses bf16 on a CPU that is not asked for
    tf32 = is_torch_tf32_available() or None
    parser.set_defaults(**TRAINING_DEFAULTS, use_cpu=use_cpu, bf16=bf16_is_fast(), tf32=tf32)
    return parser


class CommandLine(NamedTuple):
    """given: the names of the options that the command line itself has."""

    arguments: Arguments
    recipe: Recipe
    training: TrainingArguments
    own: OwnData
    given: frozenset[str]


def parse(parser: Parser, argv: Sequence[str] | None) -> tuple[Arguments, Recipe, TrainingArguments]:
    """The command line with what it leaves open filled in."""
    return parse_command_line(parser, argv)[:3]


def parse_command_line(parser: Parser, argv: Sequence[str] | None) -> CommandLine:
    """The same, and how to read data that is not prepared."""
    given = given_options(parser, argv)
    use_half_precision(parser, given)
    try:
        *parts, words = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
        if words:
            raise UserError(unknown_option(words, parser._option_string_actions))
        arguments, recipe, training, own = parts
        check_model_name(arguments.model)
        fill_in_defaults(arguments, recipe, training)
    except ValueError as error:  # also transformers' own, for values that do not go together
        parser.error(one_line(error, limit=1000))
    for name, value in FIXED.items():
        setattr(training, name, value)
    # What is frozen gets no gradient, for which DistributedDataParallel would wait.
    training.ddp_find_unused_parameters = recipe.freeze_backbone > 0
    if recipe.class_weights != "none" and training.label_smoothing_factor:
        print(WEIGHTS_WITH_SMOOTHING, file=sys.stderr)
    if training.output_dir == UNNAMED_OUTPUT:
        training.output_dir = f"runs/{Path(arguments.model).name}"
    return CommandLine(arguments, recipe, training, own, frozenset(given))


def use_half_precision(parser: Parser, given: Mapping[str, Any]) -> None:
    """--fp16 takes the place of the preset bf16. Raises UserError without a GPU, which alone computes with it."""
    if not given.get("fp16"):
        return
    if not torch.accelerator.is_available():
        raise UserError("--fp16 needs a GPU: leave it out, and a CPU that computes bf16 in hardware uses that")
    parser.set_defaults(bf16=False)


def fill_in_defaults(arguments: Arguments, recipe: Recipe, training: TrainingArguments) -> None:
    """What the model's row in models/registry.py says, where the command line says nothing."""
    spec, blank = MODELS.get(arguments.model, MODELS["mobilenet_v2"]), arguments.starts_blank()
    training.learning_rate = training.learning_rate or (spec.scratch_learning_rate if blank else spec.learning_rate)
    recipe.layer_decay = recipe.layer_decay or (1.0 if blank else spec.layer_decay)
    arguments.image_size = arguments.image_size or spec.image_size
    if blank and recipe.freeze_backbone:
        raise UserError("--freeze_backbone would keep random features: it needs pretrained weights")


def bf16_is_fast() -> bool:
    """Whether this GPU or CPU computes bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
