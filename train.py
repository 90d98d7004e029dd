"""Fine-tune one model on one prepared dataset with the Transformers Trainer.

    python -m data_prep.kaggle_fashion --output data/kaggle_fashion
    python train.py --model mobilenet_v2 --dataset data/kaggle_fashion --label articleType

Any TrainingArguments follow, such as `--num_train_epochs 3 --report_to wandb`; `--resume_from_checkpoint True` goes on
after an interruption. The output folder is a complete Hugging Face model with `model.onnx` beside it.
"""

import os
import shlex
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cpu_torchvision  # noqa: F401  before transformers

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
from transformers.trainer_utils import get_last_checkpoint

from augment import AUGMENTATIONS, batch_transforms
from data_prep.prepared import DatasetError, load_prepared, taxonomy_of
from export import CHECKED_IMAGES, ExportFailed, export_onnx
from image_data import CataloguePictures, cached_pixels, collate
from model_folder import write_model_folder
from models import MODELS, ModelNotAvailable, build_model, checkpoint_of, normalisation_of
from trainer import CatalogueTrainer, score

# TrainingArguments that train well here; any of them can be given on the command line.
DEFAULTS = {
    "num_train_epochs": 12,
    "per_device_train_batch_size": 64,
    "per_device_eval_batch_size": 128,
    "learning_rate": None,  # the model's own, from models.py
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
    "logging_steps": 50,
}
# What CatalogueTrainer needs; not the user's to change.
FIXED = {
    "remove_unused_columns": False,
    "label_names": ["labels", "coarser_labels"],
    "ddp_find_unused_parameters": False,
}


@dataclass
class Arguments:
    """What to train on what; how is up to TrainingArguments."""

    dataset: str = field(metadata={"help": "folder that a data_prep module wrote"})
    model: str = field(
        default="mobilenet_v2", metadata={"help": f"{', '.join(MODELS)}, a Hugging Face Hub id or a local folder"}
    )
    label: str = field(default="label", metadata={"help": "label column to learn, such as articleType"})
    pretrained: str | None = field(default=None, metadata={"help": "weights to start from: local folder or Hub id"})
    from_scratch: bool = field(default=False, metadata={"help": "start without pretrained weights"})
    image_size: int | None = field(default=None, metadata={"help": "side of the model's input in pixels"})
    augment: str = field(default="basic", metadata={"help": "training augmentation", "choices": list(AUGMENTATIONS)})
    early_stopping_patience: int = field(
        default=5, metadata={"help": "stop after so many evaluations without a better validation accuracy"}
    )
    export_onnx: bool = field(default=True, metadata={"help": "write model.onnx, which predict.py reads"})
    cache_dir: str | None = field(
        default=None, metadata={"help": "folder for decoded pictures; default: cache/ in the dataset's folder"}
    )


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser((Arguments, TrainingArguments), description=__doc__.splitlines()[0])
    arguments, training = parse(parser, argv)
    try:
        check_writable(Path(training.output_dir))
        dataset = load_prepared(arguments.dataset, arguments.label, ["train", "validation"])
        set_seed(training.seed)
        model = start_model(arguments, dataset)
    except (DatasetError, ModelNotAvailable) as error:
        parser.error(str(error))
    pictures = decode_splits(dataset, arguments, model.config)
    trainer = build_trainer(model, dataset, pictures, arguments, training)
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(parser, training))
    scores = final_scores(trainer, pictures)
    save(trainer, arguments, shlex.join(["python", "train.py", *(sys.argv[1:] if argv is None else argv)]), scores)
    if arguments.export_onnx:
        export(trainer, pictures)


def parse(parser: HfArgumentParser, argv: list[str] | None) -> tuple[Arguments, TrainingArguments]:
    """The command line with this project's defaults filled in."""
    use_cpu = not torch.accelerator.is_available()  # transformers refuses bf16 on a CPU that is not asked for
    parser.set_defaults(**DEFAULTS, use_cpu=use_cpu, bf16=bf16_is_fast(), report_to="none")
    try:
        arguments, training = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        parser.error(str(error))
    for name, value in FIXED.items():
        setattr(training, name, value)
    spec = MODELS.get(arguments.model, MODELS["mobilenet_v2"])
    training.learning_rate = training.learning_rate or spec.learning_rate
    arguments.image_size = arguments.image_size or spec.image_size
    if training.output_dir == "trainer_output":
        training.output_dir = f"runs/{Path(arguments.model).name}"
    if "wandb" in training.report_to:
        prepare_wandb()
    return arguments, training


def bf16_is_fast() -> bool:
    """Whether this GPU or CPU computes bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def prepare_wandb() -> None:
    """Without a key W&B would stop to ask for one: record on disk instead, for `wandb sync` later."""
    import wandb

    os.environ.setdefault("WANDB_PROJECT", "snapshelf")
    if wandb.api.api_key is None and "WANDB_MODE" not in os.environ:
        wandb.setup(wandb.Settings(mode="offline"))


def check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write --output_dir {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise DatasetError(f"cannot write --output_dir {folder}: permission denied")


def start_model(arguments: Arguments, dataset: DatasetDict) -> PreTrainedModel:
    """The model before training, with the label names and the taxonomy in its config."""
    labels = dataset["train"].features[arguments.label].names
    model = build_model(arguments.model, labels, arguments.image_size, arguments.pretrained, arguments.from_scratch)
    model.config.taxonomy = taxonomy_of(arguments.dataset, arguments.label, labels)
    return model.to(memory_format=torch.channels_last)


def decode_splits(dataset: DatasetDict, arguments: Arguments, config: PretrainedConfig) -> dict[str, CataloguePictures]:
    """Every split with its pictures decoded; label columns: the label, then its coarser levels."""
    columns = config.taxonomy["levels"][::-1]
    folder = Path(arguments.cache_dir or Path(arguments.dataset) / "cache")
    return {
        name: CataloguePictures(split, columns, cached_pixels(split, config.image_size, folder))
        for name, split in dataset.items()
    }


def build_trainer(
    model: PreTrainedModel,
    dataset: DatasetDict,
    pictures: dict[str, CataloguePictures],
    arguments: Arguments,
    training: TrainingArguments,
) -> CatalogueTrainer:
    source = None if arguments.from_scratch else arguments.pretrained or checkpoint_of(arguments.model)
    mean, std = normalisation_of(source)
    train_transform, eval_transform = batch_transforms(arguments.augment, mean, std)
    levels, ancestors = ancestors_of(model.config.taxonomy, dataset["train"].features)
    return CatalogueTrainer(
        model=model,
        args=training,
        data_collator=collate,
        train_dataset=pictures["train"],
        eval_dataset=pictures["validation"],
        compute_metrics=partial(score, ancestors=ancestors, levels=levels),
        # The callback needs what it stops on: a score of each evaluation, and the best checkpoint to go back to.
        callbacks=[EarlyStoppingCallback(arguments.early_stopping_patience)] if training.load_best_model_at_end else [],
        train_transform=train_transform,
        eval_transform=eval_transform,
    )


def ancestors_of(taxonomy: dict, features: Features) -> tuple[list[str], list[np.ndarray]]:
    """The levels above the label, fine to coarse, and for each the ancestor's id of every label id (-1: none)."""
    *above, label = taxonomy["levels"]
    above.reverse()
    ids = [{name: i for i, name in enumerate(features[level].names)} for level in above]
    paths = [taxonomy["paths"][name][-2::-1] for name in features[label].names]
    return above, [np.array([ids[depth].get(path[depth], -1) for path in paths]) for depth in range(len(above))]


def checkpoint_to_resume(parser: HfArgumentParser, training: TrainingArguments) -> str | None:
    """The checkpoint that --resume_from_checkpoint means: a folder, or True for the newest of the output folder."""
    wanted = training.resume_from_checkpoint
    if wanted is None or wanted.lower() == "false":
        return None
    if wanted.lower() != "true":
        if not Path(wanted).is_dir():
            parser.error(f"no checkpoint folder {wanted}; True takes the newest of --output_dir")
        return wanted
    newest = get_last_checkpoint(training.output_dir)
    if newest is None:
        print(f"no checkpoint in {training.output_dir} yet: starting from the beginning", file=sys.stderr)
    return newest


def final_scores(trainer: CatalogueTrainer, pictures: dict[str, CataloguePictures]) -> dict[str, float]:
    """Scores of the best checkpoint on validation and, once and last, on test."""
    trainer.remove_callback(EarlyStoppingCallback)  # it would miss its metric under the prefixes below
    scores = {}
    for split in [name for name in ("validation", "test") if name in pictures]:
        result = trainer.evaluate(pictures[split], metric_key_prefix=split)
        scores |= {key: value for key, value in result.items() if key.startswith(split)}
    return scores


def save(trainer: CatalogueTrainer, arguments: Arguments, command: str, scores: dict[str, float]) -> None:
    if trainer.is_world_process_zero():
        write_model_folder(trainer, arguments, command, scores)
        trainer.save_metrics("all", {**trainer.state.log_history[-1], **scores}, combined=True)


def export(trainer: CatalogueTrainer, pictures: dict[str, CataloguePictures]) -> None:
    """Write model.onnx, checked on real validation pictures; a failure is said, the trained model stays."""
    if not trainer.is_world_process_zero():
        return
    batch = collate(pictures["validation"].__getitems__(list(range(min(CHECKED_IMAGES, len(pictures["validation"]))))))
    pixels = trainer.eval_transform(batch["pixel_values"]).contiguous().numpy()
    path = Path(trainer.args.output_dir) / "model.onnx"
    # Without accelerate's autocast around forward, which would end up in the graph.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    try:
        difference = export_onnx(model, pixels, path)
    except ExportFailed as error:
        sys.exit(f"the model is trained and saved in {trainer.args.output_dir}, but EXPORT TO ONNX FAILED: {error}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, probabilities within {difference:.0e} of torch's")


if __name__ == "__main__":
    main()
