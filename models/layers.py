"""Which part of a model is its head, and how deep each layer lies: for freezing, warm starts and rates per layer."""

import re

import torch
from timm.models import group_parameters
from transformers import PreTrainedModel, TimmWrapperForImageClassification

WORD_HEAD = "word_head"  # a second head while training, see training/title_words.py

# A repeated block in the name of a parameter, such as `encoder.layer.3` or `encoder.stages.2.layers.0`.
BLOCK = re.compile(r".*?\b(?:layers?|blocks?|stages?|features)\.\d+(?:\.(?:layers|blocks)\.\d+)?")


def head_of(model: PreTrainedModel) -> torch.nn.Module:
    """What turns pooled features into logits, in most models one linear layer; everything else is the backbone."""
    heads = [model.get_submodule(name) for name in _head_names(model)]
    return heads[0] if len(heads) == 1 else torch.nn.ModuleList(heads)


def is_head(name: str, model: PreTrainedModel) -> bool:
    """Whether the parameter or module called `name` belongs to the classification head."""
    return any(name == head or name.startswith(f"{head}.") for head in _head_names(model))


def layer_depths(model: PreTrainedModel) -> dict[str, int]:
    """For each parameter's name its layer, counted from the stem (0) to the head (the largest).

    A layer is what the architecture repeats, such as a residual or a transformer block. What comes between the last
    block and the head counts to that block.
    """
    names = [name for name, _ in model.named_parameters()]
    inner = getattr(model, "timm_model", None)
    if hasattr(inner, "group_matcher"):
        groups = group_parameters(inner, inner.group_matcher(coarse=False), reverse=True)
        depths = {f"timm_model.{name}": depth for name, depth in groups.items()}
    else:
        depths = _depths_by_name(names)
    head_depth = 1 + max(depths[name] for name in names if not is_head(name, model))
    return {name: head_depth if is_head(name, model) else depths[name] for name in names}


def _head_names(model: PreTrainedModel) -> list[str]:
    if isinstance(model, TimmWrapperForImageClassification):
        heads = model.timm_model.get_classifier()
        heads = heads if isinstance(heads, tuple) else (heads,)
        names = [name for name, module in model.named_modules() if any(module is head for head in heads)]
        return [*names, f"timm_model.{WORD_HEAD}"] if hasattr(model.timm_model, WORD_HEAD) else names
    # transformers' own convention: a classifier is the base model and the head beside it
    outside = [(name, child) for name, child in model.named_children() if name != model.base_model_prefix]
    return [name for name, child in outside if next(child.parameters(), None) is not None]


def _depths_by_name(names: list[str]) -> dict[str, int]:
    """names: in the order of the model, where all before the first block is the stem."""
    depths, blocks = {}, []
    for name in names:
        block = BLOCK.match(name)
        if block and block[0] not in blocks:
            blocks.append(block[0])
        depths[name] = 1 + blocks.index(block[0]) if block else len(blocks)
    return depths
