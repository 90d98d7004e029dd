"""What differs by layer, epoch or step of a training.

Learning rates by layer, the frozen backbone, the images of an epoch, the moving average of the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback

AVERAGE_FILE = "ema.safetensors"
AVERAGE_WARM_UP = 10  # steps; early on the average follows the weights closely, as in TensorFlow's and timm's


def parameter_groups(
    model: PreTrainedModel,
    depths: dict[str, int],
    decayed: set[str],
    learning_rate: float,
    weight_decay: float,
    layer_decay: float,
) -> list[dict]:
    """Optimizer groups whose learning rate falls by `layer_decay` from each layer to the one below it.

    depths: the depth of each parameter, 0 at the image, deepest at the head. decayed: the parameters with weight
    decay. The head's group comes first, whose learning rate is the one that Trainer logs.
    """
    deepest = max(depths.values())
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((deepest - depths[name], name not in decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay**below,
            "weight_decay": 0.0 if plain else weight_decay,
        }
        for (below, plain), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


class FreezeBackbone(TrainerCallback):
    """Lets the head alone learn in the first epochs, on the features that the weights came with."""

    def __init__(self, model: PreTrainedModel, head: torch.nn.Module, epochs: int):
        self.epochs = epochs
        in_head = {id(each) for each in (*head.parameters(), *head.modules())}
        self.parameters = [each for each in model.parameters() if id(each) not in in_head]
        self.modules = [each for each in model.modules() if id(each) not in in_head and not any(each.children())]
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


class BalancedSampler(torch.utils.data.Sampler, TrainerCallback):
    """Draws as many rows as there are, with replacement, every class of `labels` (rows,) equally often on average.

    An epoch's rows depend on the seed and the epoch alone: a resumed run and every process of a distributed one draw
    the same.
    """

    def __init__(self, labels: np.ndarray, seed: int):
        counts = np.bincount(labels)
        self.chances = 1.0 / (counts[labels] * np.count_nonzero(counts))
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.chances)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        yield from generator.choice(len(self), len(self), p=self.chances).tolist()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.set_epoch(int(state.epoch))


class SeedEachProcess(TrainerCallback):
    """Lets each of several processes change its images in its own way; without it all would draw alike."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if args.process_index:
            torch.manual_seed(args.seed + args.process_index)


class EMA(TrainerCallback):
    """Keeps an exponential moving average of a model's weights and BatchNorm statistics."""

    def __init__(self, model: PreTrainedModel, decay: float):
        self.decay = decay
        # state_dict hands out the model's own tensors, so these follow every step of the optimizer.
        self.live = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        self.average = {name: tensor.clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs) -> None:
        decay = min(self.decay, (1 + state.global_step) / (AVERAGE_WARM_UP + state.global_step))
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model computes with the average."""
        kept = {name: tensor.clone() for name, tensor in self.live.items()}
        self.adopt()
        try:
            yield
        finally:
            _copy(kept, self.live)

    def adopt(self) -> None:
        """Make the average the model's weights."""
        _copy(self.average, self.live)

    def save(self, folder: str) -> None:
        contiguous = {name: tensor.contiguous() for name, tensor in self.average.items()}
        save_file(contiguous, Path(folder) / AVERAGE_FILE)

    def load(self, folder: str) -> None:
        """Take the checkpoint's average; from one that was written without any, its weights, which the model has."""
        file = Path(folder) / AVERAGE_FILE
        _copy(load_file(file) if file.exists() else self.live, self.average)


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
