"""A Transformers Trainer for uint8 image batches: augments whole batches, computes the recipe's loss, stops at NaN."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import scipy.sparse
import torch
import torch.nn.functional as F
from transformers import Trainer
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.trainer_callback import ProgressCallback

from app.errors import UserError
from models.layers import head_of, layer_depths
from training.arguments import Recipe
from training.callbacks import EMA, EpochLines, FreezeBackbone, SeedEachProcess
from training.coarse_labels import LabelSets, likely_targets
from training.cpu_speed import depthwise_in_float32
from training.distillation import Teacher, Teachers
from training.losses import Loss, distillation_loss
from training.param_groups import parameter_groups
from training.run_state import RunState, damage
from training.sampler import BalancedSampler
from training.title_words import WordHead

# Reading a loss waits for all that the GPU has queued, so it is done for many steps at once.
STEPS_BETWEEN_CHECKS = 50
SHOWN_IMAGES = 8


class DivergedError(UserError):
    """The loss or a weight is not a finite number any more; the message says where."""


def use_running_statistics_for_one_value(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
    """A hook of BatchNorm: a last batch of one image, averaged over its places, has no spread of its own to normalize
    with, and torch refuses it. model.train() switches the layer back for the next batch."""
    if module.training and inputs[0].numel() == inputs[0].shape[1]:
        module.training = False


class ImageTrainer(Trainer):
    """Batches arrive as image_dataset.collate makes them and are augmented and normalized on the model's device.

    mix: changes (pixels, targets) of a training batch. loss: of the training steps. teacher: for distillation with
    the recipe's weight and temperature. words: (training rows, words), for a second loss with the recipe's weight.
    coarse: what labels above the leaves mean, where some images have such. train() raises DivergedError.
    """

    def __init__(
        self,
        *args,
        train_transform: torch.nn.Module,
        eval_transform: torch.nn.Module,
        recipe: Recipe | None = None,
        loss: Loss | None = None,
        mix: torch.nn.Module | None = None,
        teacher: Teacher | Teachers | None = None,
        words: scipy.sparse.csr_matrix | None = None,
        coarse: LabelSets | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.train_transform, self.eval_transform, self.mix = train_transform, eval_transform, mix
        self.recipe = recipe or Recipe()
        device = self.args.device
        self.training_loss = (loss or Loss(smoothing=self.args.label_smoothing_factor)).to(device)
        self.teacher = None if teacher is None else teacher.to(device, memory_format=torch.channels_last)
        self.word_head = None if words is None else WordHead(words, self.model)
        self.coarse = coarse
        self.freeze = FreezeBackbone(self.model, head_of(self.model), self.recipe.freeze_backbone)
        self.average = EMA(self.model, self.recipe.ema) if self.recipe.ema else None
        for module in self.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.register_forward_pre_hook(use_running_statistics_for_one_value)
        for callback in filter(None, (self.freeze, SeedEachProcess(), self.average)):
            self.add_callback(callback)
        if self.pop_callback(ProgressCallback):  # absent with --disable_tqdm
            self.add_callback(EpochLines())
        self.run_state: RunState | None = None  # what the checkpoints tell about the run, set by training/run.py
        # (step, learning rate, loss, rows of the batch) of the steps that _check_losses has not looked at.
        self.unchecked: list[tuple[int, float, torch.Tensor, torch.Tensor | None]] = []

    def train(self, *args, **kwargs):
        """As Trainer's; at the end the model is the average of its weights if there is one, without the words' head."""
        output = super().train(*args, **kwargs)
        self._check_losses()
        if self.average is not None:
            self.average.adopt()
            self.remove_callback(self.average)
            self.average = None
        if self.word_head is not None:
            self.word_head.remove()
            self.word_head = None
        return output

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        model = model or self.model
        if self.optimizer is None and self.recipe.layer_decay not in (None, 1.0):
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            decayed = set(self.get_decay_parameter_names(model))
            rates = self.args.learning_rate, self.args.weight_decay, self.recipe.layer_decay
            self.optimizer = optimizer_class(parameter_groups(model, layer_depths(model), decayed, *rates), **options)
        return super().create_optimizer(model)

    def training_step(self, model, inputs: dict, num_items_in_batch=None) -> torch.Tensor:
        rows = inputs.get("rows")
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.unchecked.append((self.state.global_step + 1, self._get_learning_rate(), loss, rows))
        if loss.device.type == "cpu" or len(self.unchecked) >= STEPS_BETWEEN_CHECKS:
            self._check_losses()
        return loss

    def _check_losses(self) -> None:
        """Raises DivergedError if a loss is not a finite number, before a checkpoint can hold its weights."""
        steps, self.unchecked = self.unchecked, []
        if not steps or torch.stack([loss for _, _, loss, _ in steps]).isfinite().all():
            return
        step, rate, loss, rows = next(entry for entry in steps if not entry[2].isfinite())
        raise DivergedError(
            f"the loss is {loss.item()} at step {step}, with learning rate {rate:.1e}{self._images(rows)}: "
            "try a lower --learning_rate or --max_grad_norm"
        )

    def _images(self, rows: torch.Tensor | None) -> str:
        if rows is None:
            return ""
        shown = ", ".join(self.train_dataset.ids(rows[:SHOWN_IMAGES].tolist()))
        return f" and the images {shown}{', …' if len(rows) > SHOWN_IMAGES else ''}"

    def _prepare_inputs(self, inputs: dict) -> dict:
        inputs = super()._prepare_inputs(inputs)
        training = self.model.training
        transform = self.train_transform if training else self.eval_transform
        with torch.no_grad(), torch.autocast(inputs["pixel_values"].device.type, enabled=False):
            pixels = transform(inputs["pixel_values"])
            if training:
                self.freeze.keep_in_eval_mode()
                targets = self._targets(inputs).to(pixels.dtype)
                pixels, inputs["targets"] = (pixels, targets) if self.mix is None else self.mix(pixels, targets)
        inputs["pixel_values"] = pixels.contiguous(memory_format=torch.channels_last)
        return inputs

    def _targets(self, inputs: dict) -> torch.Tensor:
        """(batch, labels): 1 for the labels that may be right."""
        if self.coarse is not None:
            return self.coarse.members(inputs["labels"], inputs["coarser_labels"])
        return F.one_hot(inputs["labels"], self.model.config.num_labels)

    def compute_loss(self, model, inputs: dict, return_outputs: bool = False, num_items_in_batch=None):
        """The recipe's loss; plain cross-entropy in evaluation, so that validation losses stay comparable."""
        with self._faster_gradients():
            logits = model(pixel_values=inputs["pixel_values"]).logits.float()
        loss = self._training_loss(logits, inputs) if model.training else F.cross_entropy(logits, inputs["labels"])
        return (loss, ImageClassifierOutput(logits=logits)) if return_outputs else loss

    def _faster_gradients(self) -> AbstractContextManager:
        args = self.args
        on_cpu = args.device.type == "cpu" and args.bf16 and self.model.training
        # Compiled, or run again for the gradients, the forward pass does not come by here.
        comes_by = not (args.torch_compile or args.activation_checkpointing or args.gradient_checkpointing)
        return depthwise_in_float32() if on_cpu and comes_by else nullcontext()

    def _training_loss(self, logits: torch.Tensor, inputs: dict) -> torch.Tensor:
        targets = inputs["targets"] if self.coarse is None else likely_targets(logits, inputs["targets"])
        loss = self.training_loss(logits, targets)
        if self.word_head is not None:
            loss = loss + self.recipe.word_weight * self.word_head.loss(inputs["rows"])
        if self.teacher is None:
            return loss
        with self.accelerator.autocast():
            teacher_logits = self.teacher(inputs["pixel_values"])
        weight, temperature = self.recipe.distill_weight, self.recipe.distill_temperature
        return (1 - weight) * loss + weight * distillation_loss(logits, teacher_logits, temperature)

    def get_eval_dataloader(self, eval_dataset=None):
        """With --dataloader_persistent_workers Trainer would answer for the first dataset, whichever it is asked."""
        self._eval_dataloaders = {}
        return super().get_eval_dataloader(eval_dataset)

    def evaluation_loop(self, *args, **kwargs):
        """While training, of the average of the weights if the recipe keeps one."""
        if self.average is None:
            return super().evaluation_loop(*args, **kwargs)
        with self.average.in_place():
            return super().evaluation_loop(*args, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        if self.recipe.sampler != "balanced":
            return super()._get_train_sampler(train_dataset)
        labels = (train_dataset or self.train_dataset).labels[:, 0]
        sampler = BalancedSampler(labels, self.args.data_seed or self.args.seed)
        self.add_callback(sampler)  # accelerate does not tell it the epoch in a resumed, distributed run
        return sampler

    def _save_checkpoint(self, model, trial) -> None:
        self._check_losses()
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        finite = [tensor.isfinite().all() for tensor in self.model.state_dict().values()]
        if not torch.stack(finite).all():
            raise DivergedError(f"a weight is not a finite number after step {self.state.global_step}")
        keeper = self.run_state if self.args.should_save else None
        if keeper:
            keeper.before_checkpoint(checkpoint)
        super()._save_checkpoint(model, trial)
        if keeper:
            keeper.after_checkpoint(checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.average is not None and self.args.should_save:
            self.average.save(output_dir or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.average is not None:
            self.average.load(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if reason := damage(Path(self.state.best_model_checkpoint)):
            message = f"the best checkpoint, {self.state.best_model_checkpoint}, cannot be used ({reason})"
            print(f"{message}: the last weights are kept", file=sys.stderr)
            return
        super()._load_best_model()
        if self.average is not None:
            self.average.load(self.state.best_model_checkpoint)
