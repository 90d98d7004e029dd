"""Learning rates and weight decay by layer, as groups of parameters for the optimizer."""

import torch
from transformers import PreTrainedModel


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
            "lr": learning_rate * layer_decay**layers_below,
            "weight_decay": 0.0 if plain else weight_decay,
        }
        for (layers_below, plain), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
