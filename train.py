"""Fine-tune one model on one prepared dataset with the Transformers Trainer.

    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python train.py --model mobilenet_v2 --dataset data/kaggle_fashion --label articleType

Any TrainingArguments follow, such as `--num_train_epochs 3 --report_to wandb`; `--resume_from_checkpoint True` goes on
after an interruption. The output folder is a complete Hugging Face model with `model.onnx` beside it.

    python train.py --ema 0.999 --mixup 0.2 --augment trivial ... # the recipe's options, see training/recipe.py
    python train.py --pretrained runs/big --freeze_backbone 1 ... # from weights for other labels
    python train.py --teacher runs/big --model mobilenet_v2 ...   # distillation, see training/distillation.py
    python train.py --folds 5 ...                                 # out-of-fold predictions, see training/cross_validation.py
    python train.py --report_to wandb ...                         # or trackio, see training/tracking.py
    python train.py --streaming --dataset hf://datasets/me/x ...  # Parquet shards without a copy, see training/streaming.py
    torchrun --nproc_per_node 2 train.py ...                      # two GPUs; on two machines, in each of them:
    torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 train.py ...
"""

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import torch
from datasets import DatasetDict, Features
from transformers import (
    EarlyStoppingCallback,
    HfArgumentParser,
    PretrainedConfig,
    PreTrainedModel,
    TrainingArguments,
    set_seed,
)
from transformers.utils import is_torch_tf32_available

from data_prep.pipeline.card import dataset_fingerprint
from data_prep.pipeline.prepared import DatasetError, load_prepared, taxonomy_of
from export import CHECKED_IMAGES, ExportError, export_onnx
from models.registry import MODELS, ModelUnavailableError, checkpoint_of, normalization_of
from models.warm_start import start_model
from training.augment.batch import batch_transforms
from training.checkpoints import (
    CheckpointError,
    OutputError,
    check_room,
    check_writable,
    checkpoint_to_resume,
    newest_checkpoint,
)
from training.cross_validation import check_folds, cross_validate
from training.distillation import Teacher, TeacherError
from training.image_dataset import ImageDataset, bytes_to_cache, cached_pixels, collate
from training.model_card import write_model_folder
from training.recipe import TRAINING_DEFAULTS, Recipe
from training.streaming import (
    StreamedImageDataset,
    StreamedSplit,
    collate_rows,
    open_shards,
    shards_fingerprint,
    shards_taxonomy,
    streamed_splits,
)
from training.tracking import TrackingError, check_tracking, finish_tracking, start_tracking
from training.trainer import DivergedError, ImageTrainer, score

# What ImageTrainer needs; not the user's to change.
FIXED = {
    "remove_unused_columns": False,
    "label_names": ["labels", "coarser_labels"],
}
WEIGHTS_WITH_SMOOTHING = (
    "note: with --class_weights and label smoothing each image's whole loss has the weight of its class; torch's own "
    "loss would give the smoothed part the weights of the other classes (pytorch#104776)"
)


@dataclass
class Arguments:
    """What to train on what; how is up to Recipe and TrainingArguments."""

    dataset: str = field(metadata={"help": "folder that a data_prep module wrote"})
    model: str = field(
        default="mobilenet_v2", metadata={"help": f"{', '.join(MODELS)}, a Hugging Face Hub id or a local folder"}
    )
    label: str = field(default="label", metadata={"help": "label column to learn, such as articleType"})
    pretrained: str | None = field(default=None, metadata={"help": "weights to start from: local folder or Hub id"})
    from_scratch: bool = field(default=False, metadata={"help": "start without pretrained weights"})
    image_size: int | None = field(default=None, metadata={"help": "side of the model's input in pixels"})
    early_stopping_patience: int = field(
        default=5, metadata={"help": "stop after so many evaluations without a better validation accuracy"}
    )
    export_onnx: bool = field(default=True, metadata={"help": "write model.onnx, which predict.py reads"})
    cache_dir: str | None = field(
        default=None, metadata={"help": "folder for decoded images; default: cache/ in the dataset's folder"}
    )
    folds: int = field(default=0, metadata={"help": "cross-validate: so many trainings on train and validation"})
    fold: int | None = field(default=None, metadata={"help": "train this one of the --folds alone, from 0"})
    streaming: bool = field(
        default=False, metadata={"help": "--dataset is Parquet shards: a folder, hf://, s3:// or another address"}
    )


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser((Arguments, Recipe, TrainingArguments), description=__doc__.splitlines()[0])
    arguments, recipe, training = parse(parser, argv)
    command = shlex.join(["python", "train.py", *(sys.argv[1:] if argv is None else argv)])
    train_one = partial(train_model, arguments=arguments, recipe=recipe, command=command)
    try:
        check_tracking(training)
        check_folds(arguments)
        dataset = open_dataset(arguments, recipe)
        if arguments.folds:
            cross_validate(dataset, arguments, training, train_one)
        else:
            train_one(dataset, training)
    except (OutputError, DatasetError, ModelUnavailableError, CheckpointError, TeacherError, TrackingError) as error:
        parser.error(str(error))


def train_model(
    dataset: DatasetDict | dict[str, StreamedSplit],
    training: TrainingArguments,
    choose: Callable[[dict], dict] = dict,
    *,
    arguments: Arguments,
    recipe: Recipe,
    command: str,
) -> ImageTrainer:
    """One training from its first check to the finished model folder.

    choose: makes of the images of the dataset's splits those to train on and those to evaluate on.
    """
    cache = cache_folder(arguments, training)
    check_writable(Path(training.output_dir), "--output_dir")
    check_writable(cache, "--cache_dir")
    checkpoint = checkpoint_to_resume(training)
    set_seed(training.seed)
    model = labeled_model(arguments, dataset)
    teacher = load_teacher(recipe, arguments, model)
    to_cache = 0 if arguments.streaming else bytes_to_cache(dataset.values(), arguments.image_size, cache)
    check_room(model, training, recipe.ema > 0, cache, to_cache)
    trackers = start_tracking(training, run_facts(arguments, recipe, training, command))
    with training.main_process_first(desc="decode"):
        images = choose(decode_splits(dataset, arguments, model.config, cache, training.seed))
    trainer = build_trainer(model, teacher, dataset, images, arguments, recipe, training)
    fit(trainer, checkpoint)
    scores = final_scores(trainer, images)
    save(trainer, arguments, command, scores)
    if arguments.export_onnx:
        export(trainer, images)
    finish_tracking(trackers, trainer, images, scores)
    return trainer


def parse(parser: HfArgumentParser, argv: list[str] | None) -> tuple[Arguments, Recipe, TrainingArguments]:
    """The command line with this project's defaults filled in."""
    use_cpu = not torch.accelerator.is_available()  # transformers refuses bf16 on a CPU that is not asked for
    tf32 = is_torch_tf32_available() or None
    parser.set_defaults(**TRAINING_DEFAULTS, use_cpu=use_cpu, bf16=bf16_is_fast(), tf32=tf32, report_to="none")
    try:
        arguments, recipe, training = parser.parse_args_into_dataclasses(argv)
        fill_in_defaults(arguments, recipe, training)
    except ValueError as error:
        parser.error(str(error))
    for name, value in FIXED.items():
        setattr(training, name, value)
    # What is frozen gets no gradient, for which DistributedDataParallel would wait.
    training.ddp_find_unused_parameters = recipe.freeze_backbone > 0
    if recipe.class_weights != "none" and training.label_smoothing_factor:
        print(WEIGHTS_WITH_SMOOTHING, file=sys.stderr)
    if training.output_dir == "trainer_output":
        training.output_dir = f"runs/{Path(arguments.model).name}"
    return arguments, recipe, training


def fill_in_defaults(arguments: Arguments, recipe: Recipe, training: TrainingArguments) -> None:
    """What the model's row in models/registry.py says, where the command line says nothing."""
    spec = MODELS.get(arguments.model, MODELS["mobilenet_v2"])
    blank = arguments.from_scratch or not (arguments.pretrained or checkpoint_of(arguments.model))
    training.learning_rate = training.learning_rate or (spec.scratch_learning_rate if blank else spec.learning_rate)
    recipe.layer_decay = recipe.layer_decay or (1.0 if blank else spec.layer_decay)
    arguments.image_size = arguments.image_size or spec.image_size
    if blank and recipe.freeze_backbone:
        raise ValueError("--freeze_backbone would keep random features: it needs pretrained weights")


def bf16_is_fast() -> bool:
    """Whether this GPU or CPU computes bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def open_dataset(arguments: Arguments, recipe: Recipe) -> DatasetDict | dict[str, StreamedSplit]:
    """The splits; with --streaming nothing but the footers of their shards has been read. Raises DatasetError."""
    splits = ["train", "validation"]
    if not arguments.streaming:
        return load_prepared(arguments.dataset, arguments.label, splits)
    if recipe.sampler == "balanced":
        raise DatasetError(
            "--sampler balanced picks any row at any time, which --streaming cannot; use --class_weights"
        )
    return open_shards(arguments.dataset, arguments.label, splits)


def cache_folder(arguments: Arguments, training: TrainingArguments) -> Path:
    """For decoded images, of which streaming keeps none."""
    return Path(training.output_dir if arguments.streaming else arguments.cache_dir or f"{arguments.dataset}/cache")


def run_facts(arguments: Arguments, recipe: Recipe, training: TrainingArguments, command: str) -> dict:
    """What a tracked run records beside TrainingArguments."""
    find = shards_fingerprint if arguments.streaming else dataset_fingerprint
    facts = {"command": command, "fingerprint": find(arguments.dataset), "seed": training.seed}
    return {**asdict(arguments), **asdict(recipe), **facts}


def labeled_model(arguments: Arguments, dataset: DatasetDict | dict[str, StreamedSplit]) -> PreTrainedModel:
    """The model before training, with the label names and the taxonomy in its config."""
    labels = dataset["train"].features[arguments.label].names
    model = start_model(arguments.model, labels, arguments.image_size, arguments.pretrained, arguments.from_scratch)
    find = shards_taxonomy if arguments.streaming else taxonomy_of
    model.config.taxonomy = find(arguments.dataset, arguments.label, labels)
    return model.to(memory_format=torch.channels_last)


def normalization(arguments: Arguments) -> tuple[list[float], list[float]]:
    """Mean and standard deviation that the model's first weights expect."""
    return normalization_of(None if arguments.from_scratch else arguments.pretrained or checkpoint_of(arguments.model))


def load_teacher(recipe: Recipe, arguments: Arguments, model: PreTrainedModel) -> Teacher | None:
    if recipe.teacher is None:
        return None
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return Teacher(recipe.teacher, labels, *normalization(arguments))


def decode_splits(
    dataset: DatasetDict | dict[str, StreamedSplit],
    arguments: Arguments,
    config: PretrainedConfig,
    cache: Path,
    seed: int,
) -> dict[str, ImageDataset | StreamedImageDataset]:
    """Every split with its images decoded, or to be; label columns: the label, then its coarser levels."""
    columns = config.taxonomy["levels"][::-1]
    if arguments.streaming:
        return streamed_splits(dataset, columns, config.image_size, seed)
    return {
        name: ImageDataset(split, columns, cached_pixels(split, config.image_size, cache))
        for name, split in dataset.items()
    }


def build_trainer(
    model: PreTrainedModel,
    teacher: Teacher | None,
    dataset: DatasetDict | dict[str, StreamedSplit],
    images: dict[str, ImageDataset | StreamedImageDataset],
    arguments: Arguments,
    recipe: Recipe,
    training: TrainingArguments,
) -> ImageTrainer:
    transforms = batch_transforms(recipe.augment, *normalization(arguments), recipe.random_erasing)
    counts = np.bincount(images["train"].labels[:, 0], minlength=model.config.num_labels)
    levels, ancestors = ancestors_of(model.config.taxonomy, dataset["train"].features)
    return ImageTrainer(
        model=model,
        args=training,
        data_collator=collate_rows if arguments.streaming else collate,
        train_dataset=images["train"],
        eval_dataset=images["validation"],
        compute_metrics=partial(score, ancestors=ancestors, levels=levels),
        # The callback needs what it stops on: a score of each evaluation, and the best checkpoint to go back to.
        callbacks=[EarlyStoppingCallback(arguments.early_stopping_patience)] if training.load_best_model_at_end else [],
        train_transform=transforms[0],
        eval_transform=transforms[1],
        recipe=recipe,
        loss=recipe.training_loss(counts, training.label_smoothing_factor),
        mix=recipe.mixing(),
        teacher=teacher,
    )


def ancestors_of(taxonomy: dict, features: Features) -> tuple[list[str], list[np.ndarray]]:
    """The levels above the label, fine to coarse, and for each the ancestor's id of every label id (-1: none)."""
    *above, label = taxonomy["levels"]
    above.reverse()
    ids = [{name: i for i, name in enumerate(features[level].names)} for level in above]
    paths = [taxonomy["paths"][name][-2::-1] for name in features[label].names]
    return above, [np.array([ids[depth].get(path[depth], -1) for path in paths]) for depth in range(len(above))]


def fit(trainer: ImageTrainer, checkpoint: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except DivergedError as error:
        good = newest_checkpoint(Path(trainer.args.output_dir))
        sys.exit(f"training stopped: {error}; " + (f"last good checkpoint: {good}" if good else "no checkpoint yet"))


def final_scores(trainer: ImageTrainer, images: dict[str, ImageDataset]) -> dict[str, float]:
    """Scores of the best checkpoint on validation and, once and last, on test."""
    trainer.remove_callback(EarlyStoppingCallback)  # it would miss its metric under the prefixes below
    scores = {}
    for split in [name for name in ("validation", "test") if name in images]:
        result = trainer.evaluate(images[split], metric_key_prefix=split)
        scores |= {key: value for key, value in result.items() if key.startswith(split)}
    return scores


def save(trainer: ImageTrainer, arguments: Arguments, command: str, scores: dict[str, float]) -> None:
    if trainer.is_world_process_zero():
        write_model_folder(trainer, arguments, command, scores)
        trainer.save_metrics("all", {**trainer.state.log_history[-1], **scores}, combined=True)


def export(trainer: ImageTrainer, images: dict[str, ImageDataset]) -> None:
    """Write model.onnx, checked on real validation images; a failure is said, the trained model stays."""
    if not trainer.is_world_process_zero():
        return
    batch = collate(images["validation"].__getitems__(list(range(min(CHECKED_IMAGES, len(images["validation"]))))))
    pixels = trainer.eval_transform(batch["pixel_values"]).contiguous().numpy()
    path = Path(trainer.args.output_dir) / "model.onnx"
    # Without accelerate's autocast around forward, which would end up in the graph.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    try:
        difference = export_onnx(model, pixels, path)
    except ExportError as error:
        sys.exit(f"the model is trained and saved in {trainer.args.output_dir}, but EXPORT TO ONNX FAILED: {error}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, probabilities within {difference:.0e} of torch's")


if __name__ == "__main__":
    main()
