"""What changes by epoch or by step: the frozen backbone, each process's seed, the moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import ProgressCallback

EMA_FILE = "ema.safetensors"
EMA_WARM_UP = (
    9  # steps; early on the average follows the weights closely, decay (1 + step) / (10 + step) as TensorFlow's
)


class FreezeBackbone(TrainerCallback):
    """Lets only the head learn in the first epochs, on the features that the weights came with."""

    def __init__(self, model: PreTrainedModel, head: torch.nn.Module, epochs: int):
        self.epochs = epochs
        in_head = {id(part) for part in (*head.parameters(), *head.modules())}
        self.parameters = [parameter for parameter in model.parameters() if id(parameter) not in in_head]
        self.modules = [
            module for module in model.modules() if id(module) not in in_head and not any(module.children())
        ]
        self.frozen = False

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.frozen = int(state.epoch) < self.epochs
        # Only now, not before: the optimizer and DistributedDataParallel were to see every parameter.
        for parameter in self.parameters:
            parameter.requires_grad_(not self.frozen)

    def keep_in_eval_mode(self) -> None:
        """While frozen, no dropout and no new BatchNorm statistics either; to be called after each model.train()."""
        if self.frozen:
            for module in self.modules:
                module.training = False


class SeedEachProcess(TrainerCallback):
    """Gives each of several processes its own augmentations; without it all would draw alike."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if args.process_index:
            torch.manual_seed(args.seed + args.process_index)


class EpochLines(ProgressCallback):
    """Progress bars, and one line for each evaluation in place of every log's dictionary."""

    def __init__(self):
        super().__init__()
        self.training_loss: float | None = None  # of the latest log

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.training_loss = (logs or {}).get("loss", self.training_loss)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        super().on_evaluate(args, state, control, **kwargs)
        if state.is_world_process_zero and self.training_bar is not None and metrics:
            self.training_bar.write(self.line(metrics, state.epoch or 0, args.num_train_epochs))

    def line(self, metrics: dict[str, float], epoch: float, epochs: float) -> str:
        scores = [f"epoch {epoch:.4g} of {epochs:.4g}"]
        if self.training_loss is not None:
            scores.append(f"training loss {float(self.training_loss):.3f}")
        names = {"loss": "validation loss", "accuracy": "accuracy", "macro_f1": "macro-F1"}
        scores += [
            f"{shown} {metrics[f'eval_{name}']:.3f}" for name, shown in names.items() if f"eval_{name}" in metrics
        ]
        return ", ".join(scores)


class EMA(TrainerCallback):
    """Keeps timm's exponential moving average of a model's weights and BatchNorm statistics, beside each checkpoint."""

    def __init__(self, model: PreTrainedModel, decay: float):
        from timm.utils import ModelEmaV3  # 2.5 s, for runs that keep an average

        self.model = model
        self.average = ModelEmaV3(model, decay, use_warmup=True, warmup_gamma=EMA_WARM_UP, warmup_power=1)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.average.update(self.model, step=state.global_step + 2)  # timm subtracts the one step before the first

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model computes with the average."""
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.adopt()
        try:
            yield
        finally:
            self.model.load_state_dict(weights)

    def adopt(self) -> None:
        """Make the average the model's weights."""
        self.model.load_state_dict(self.average.module.state_dict())

    def save(self, folder: str) -> None:
        contiguous = {name: tensor.contiguous() for name, tensor in self.average.module.state_dict().items()}
        save_file(contiguous, Path(folder) / EMA_FILE)

    def load(self, folder: str) -> None:
        """Take the checkpoint's average; from one that was written without any, its weights, which the model has."""
        file = Path(folder) / EMA_FILE
        self.average.module.load_state_dict(load_file(file) if file.exists() else self.model.state_dict())
