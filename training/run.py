"""One training, from its first check to the finished model folder.

trainer = train_model(open_data(arguments, recipe), training, arguments, recipe, command="python train.py ...")
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainingArguments, set_seed

from app.errors import UserError
from evaluation.checked_export import STOCK_IMAGES
from evaluation.predictions import some_images
from models.export_onnx import CHECKED_IMAGES, ExportError, export_onnx
from models.hub import check_push, push_folder
from models.registry import build_model
from models.stock_processor import check_stock_processor
from training.arguments import Arguments, Recipe
from training.augment.batch import batch_transforms
from training.augment.mixup import PerSampleMix
from training.checkpoints import (
    check_room,
    check_writable,
    checkpoint_to_resume,
    newest_checkpoint,
    nothing_left_behind,
    superseded,
    wants_to_resume,
)
from training.coarse_labels import label_sets
from training.data import Images, PreparedData, StreamedSplit, TrainingData
from training.distillation import Teacher, Teachers
from training.frozen_head import fit_head
from training.image_dataset import collate
from training.losses import Loss
from training.model_card import write_model_folder
from training.network import Network
from training.run_state import RunState, identity, one_training, read_state
from training.scores import scores_by_level
from training.title_words import word_targets
from training.tracking import finish_tracking, start_tracking
from training.trainer import DivergedError, ImageTrainer


def train_model(
    data: TrainingData,
    training: TrainingArguments,
    arguments: Arguments,
    recipe: Recipe,
    command: str,
    trainer_class: Callable[..., ImageTrainer] = ImageTrainer,
) -> ImageTrainer:
    """Train, score, save and export. command: what the user typed. trainer_class: ImageTrainer or a study's own.

    Raises UserError for a choice of the user that does not work, DivergedError and ExportError.
    """
    output = Path(training.output_dir)
    push = take_push(training)
    folders = {"--output_dir": output, **({"--cache_dir": data.cache} if data.cache else {})}
    with nothing_left_behind(folders.values()), ExitStack() as stack:
        for option, folder in folders.items():
            check_writable(folder, option)
        stack.enter_context(one_training(output, leader=training.process_index == 0))
        trainer = _train(data, training, arguments, recipe, command, trainer_class)
        if push and trainer.is_world_process_zero():
            print(push_folder(output, training.hub_model_id, training.hub_private_repo))
        return trainer


def _train(
    data: TrainingData,
    training: TrainingArguments,
    arguments: Arguments,
    recipe: Recipe,
    command: str,
    trainer_class: Callable[..., ImageTrainer],
) -> ImageTrainer:
    checkpoint = checkpoint_to_resume(training)
    state = begin_run(data, training, arguments, recipe, checkpoint)
    set_seed(training.seed)
    model = labeled_model(arguments, data)
    teacher = load_teacher(arguments, recipe, model)
    check_room(model, training, recipe.ema > 0, data.cache, data.bytes_to_cache(arguments.image_size))
    trackers = start_tracking(training, tracked_config(data, training, arguments, recipe, command), state)
    state.write()
    with training.main_process_first(desc="decode"):
        images = data.images(label_columns(model), model.config.image_size, training.seed)
    trainer = build_trainer(model, teacher, data, images, training, arguments, recipe, trainer_class)
    trainer.run_state = state
    if recipe.fit_head and not checkpoint:
        fit_head(Network.around(model, arguments.normalization()), images["train"])
    fit(trainer, checkpoint)
    scores = final_scores(trainer, images)
    save(trainer, arguments, command, scores)
    if arguments.export_onnx:
        export(trainer, images, data.splits["validation"])
    finish_tracking(trackers, trainer, images, scores)
    return trainer


def take_push(training: TrainingArguments) -> bool:
    """Whether --push_to_hub was given, which it no longer is afterwards: the Trainer would send pickles and no graph.

    Raises HubError before any work if the push cannot succeed.
    """
    push, training.push_to_hub = training.push_to_hub, False
    if push:
        check_push(training.hub_model_id)
    return push


def begin_run(
    data: TrainingData, training: TrainingArguments, arguments: Arguments, recipe: Recipe, checkpoint: str | None
) -> RunState:
    """Raises CheckpointError if the checkpoint is of another training."""
    output = Path(training.output_dir)
    names = data.splits["train"].features[data.label].names
    described = identity(names, data.fingerprint(), training, arguments, recipe)
    state = RunState.begin(output, described, arguments.dataset, checkpoint)
    state.superseded = superseded(output, checkpoint)
    if not checkpoint and wants_to_resume(training):  # it was stopped before its first checkpoint
        state.trackers = read_state(output).get("trackers", {})
    elif not checkpoint and state.superseded and training.process_index == 0:
        print(
            f"{output} holds checkpoints of an earlier training, which go when this one saves its first: to continue "
            "that one instead, stop now and add --resume_from_checkpoint True",
            file=sys.stderr,
        )
    return state


def labeled_model(arguments: Arguments, data: TrainingData) -> PreTrainedModel:
    """The model before training, with the label names and the taxonomy in its config."""
    labels = data.splits["train"].features[data.label].names
    model = build_model(arguments.model, labels, arguments.image_size, arguments.pretrained, arguments.from_scratch)
    model.config.taxonomy = data.taxonomy()
    return model.to(memory_format=torch.channels_last)


def load_teacher(arguments: Arguments, recipe: Recipe, model: PreTrainedModel) -> Teacher | Teachers | None:
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    teachers = [Teacher(folder, labels, *arguments.normalization()) for folder in recipe.teacher]
    return Teachers(teachers) if len(teachers) > 1 else next(iter(teachers), None)


def tracked_config(
    data: TrainingData, training: TrainingArguments, arguments: Arguments, recipe: Recipe, command: str
) -> dict:
    """What a tracked run records beside TrainingArguments."""
    origin = {"command": command, "fingerprint": data.fingerprint(), "seed": training.seed}
    return {**asdict(arguments), **asdict(recipe), **origin}


def label_columns(model: PreTrainedModel) -> list[str]:
    """The dataset's columns of the model's taxonomy: the label, then its coarser levels."""
    return model.config.taxonomy["levels"][::-1]


def build_trainer(
    model: PreTrainedModel,
    teacher: Teacher | Teachers | None,
    data: TrainingData,
    images: dict[str, Images],
    training: TrainingArguments,
    arguments: Arguments,
    recipe: Recipe,
    trainer_class: Callable[..., ImageTrainer] = ImageTrainer,
) -> ImageTrainer:
    transforms = batch_transforms(recipe.augment, *arguments.normalization(), recipe.random_erasing)
    labels = images["train"].labels[:, 0]
    counts = np.bincount(labels[labels >= 0], minlength=model.config.num_labels)
    smoothing = training.label_smoothing_factor
    return trainer_class(
        model=model,
        args=training,
        data_collator=data.collate,
        train_dataset=images["train"],
        eval_dataset=images["validation"],
        compute_metrics=scores_by_level(model.config.taxonomy, data.splits["train"].features),
        # The callback needs what it stops on: a score of each evaluation, and the best checkpoint to go back to.
        callbacks=[EarlyStoppingCallback(arguments.early_stopping_patience)] if training.load_best_model_at_end else [],
        train_transform=transforms[0],
        eval_transform=transforms[1],
        recipe=recipe,
        loss=Loss(recipe.loss, counts, recipe.class_weights, smoothing, recipe.logit_adjustment),
        mix=PerSampleMix(recipe.mixup, recipe.cutmix) if recipe.mixup or recipe.cutmix else None,
        teacher=teacher,
        words=taught_words(data, arguments, recipe),
        **label_sets(labels, model.config.taxonomy, data.splits["train"].features, recipe),
    )


def taught_words(data: TrainingData, arguments: Arguments, recipe: Recipe) -> scipy.sparse.csr_matrix | None:
    if not recipe.teach_words:
        return None
    if arguments.folds or not isinstance(data, PreparedData):
        raise UserError(
            "--teach_words needs the rows of a prepared dataset: it does not go with --streaming or --folds"
        )
    return word_targets(data.splits["train"], recipe.teach_words)


def fit(trainer: ImageTrainer, checkpoint: str | None) -> None:
    """Train, from a checkpoint if there is one. Raises DivergedError that names the last good checkpoint."""
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except DivergedError as error:
        good = newest_checkpoint(Path(trainer.args.output_dir))
        cure = f"last good checkpoint: {good}" if good else "no checkpoint yet"
        raise DivergedError(f"training stopped: {error}; {cure}") from error


def final_scores(trainer: ImageTrainer, images: dict[str, Images]) -> dict[str, float]:
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


def export(trainer: ImageTrainer, images: dict[str, Images], validation: Dataset | StreamedSplit) -> None:
    """Write model.onnx, checked on real validation images. Raises ExportError; the trained model stays."""
    if not trainer.is_world_process_zero():
        return
    batch = collate(images["validation"].__getitems__(list(range(min(CHECKED_IMAGES, len(images["validation"]))))))
    pixels = trainer.eval_transform(batch["pixel_values"]).contiguous().numpy()
    path = Path(trainer.args.output_dir) / "model.onnx"
    # Without accelerate's autocast around forward, which would end up in the graph.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    try:
        check_stock_processor(
            path.parent, some_images(validation, STOCK_IMAGES) if isinstance(validation, Dataset) else ()
        )
        difference = export_onnx(model, pixels, path)
    except ExportError as error:
        folder = trainer.args.output_dir
        raise ExportError(f"the model is trained and saved in {folder}, but EXPORT TO ONNX FAILED: {error}") from error
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, probabilities within {difference:.0e} of torch's")
