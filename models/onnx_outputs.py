"""Find a model's embeddings and its feature map, whatever its architecture, and return them beside the logits.

    outputs = GraphOutputs(model, pixels)        # outputs.names: logits, embeddings, class_maps
    logits, embeddings, class_maps = outputs(pixels)

Nothing depends on the names of layers: the head is the linear layer that makes the logits, and the map is the last
layer whose average over places, or whose class token, is what the head reads.
"""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

INPUT, LOGITS = "pixel_values", "logits"


class GraphOutputs(torch.nn.Module):
    """A model as an ONNX graph needs it: tensors out, in the order of `names`."""

    def __init__(self, model: PreTrainedModel, pixels: torch.Tensor):
        super().__init__()
        self.model = model
        self.head = find_head(model, pixels)
        self.pooling = find_pooling(model, self.head, pixels) if self.head else None
        self.names = [LOGITS, *(["embeddings"] if self.head else []), *(["class_maps"] if self.pooling else [])]

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layers = [layer for layer in (self.head, self.pooling and self.pooling[0]) if layer]
        logits, seen = observe(self.model, pixel_values, layers)
        if not self.head:
            return (logits,)
        embeddings = seen[self.head][0]
        if not self.pooling:
            return logits, embeddings
        layer, to_places = self.pooling
        head = self.model.get_submodule(self.head)
        places = to_places(seen[layer][1], pixel_values)  # (batch, h, w, dim)
        return logits, embeddings, head(places).permute(0, 3, 1, 2)


def observe(model: torch.nn.Module, pixels: torch.Tensor, layers: list[str]) -> tuple[torch.Tensor, dict]:
    """The model's logits and, by layer, the last (input, output) of each."""
    seen = {}

    def remember(name: str) -> Callable:
        def hook(_module, inputs, output):
            seen[name] = (inputs[0] if inputs else None, output)

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(remember(name)) for name in layers]
    try:
        return model(pixel_values=pixels).logits, seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def find_head(model: torch.nn.Module, pixels: torch.Tensor) -> str | None:
    """The name of the linear layer that computes the logits from one vector per image."""
    linear = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    logits, seen = observe(model, pixels, linear)
    heads = [name for name, (inputs, output) in seen.items() if inputs.dim() == 2 and same(output, logits)]
    return heads[-1] if heads else None


@torch.inference_mode()
def find_pooling(model: torch.nn.Module, head: str, pixels: torch.Tensor) -> tuple[str, Callable] | None:
    """The last layer from whose output the embeddings are pooled, and a function from it to (batch, h, w, dim)."""
    names = [name for name, _ in model.named_modules() if name and name != head]
    _, seen = observe(model, pixels, [*names, head])
    embeddings = seen[head][0]
    for name in reversed(seen):
        for to_places, pooled in POOLINGS:
            output = seen[name][1]
            if isinstance(output, torch.Tensor) and name != head and fits(output, embeddings, pooled):
                return name, to_places
    return None


def fits(output: torch.Tensor, embeddings: torch.Tensor, pooled: Callable) -> bool:
    """Whether pooling a layer's output gives the embeddings. A single place would not be a map."""
    if output.dim() not in (3, 4) or output[0].numel() <= embeddings.shape[1]:
        return False
    vectors = pooled(output)
    return vectors is not None and same(vectors, embeddings)


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, rtol=1e-3, atol=1e-4)


def grid(tokens: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """(batch, n, dim) -> (batch, h, w, dim), in the proportions of the image."""
    count, height, width = tokens.shape[1], pixels.shape[2], pixels.shape[3]
    rows = round((count * height / width) ** 0.5)
    return tokens.unflatten(1, (rows, count // rows))


def patches(tokens: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Patch tokens without the class token or register tokens before them."""
    side = int(tokens.shape[1] ** 0.5) if pixels.shape[2] == pixels.shape[3] else None
    return grid(tokens[:, -side * side :] if side else tokens[:, 1:], pixels)


def with_class_token(tokens: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """DINOv2's head reads the class token beside the mean patch: the class token beside each patch."""
    places = patches(tokens, pixels)
    class_token = tokens[:, :1, None, :].expand(-1, places.shape[1], places.shape[2], -1)
    return torch.cat([class_token, places], dim=-1)


# (from a layer's output to a vector for each place, from a layer's output to the embeddings). The mean of the first,
# put through the head, is the logits, except for a class token alone, where it shows what the patches would say.
POOLINGS = (
    (lambda out, pixels: out.permute(0, 2, 3, 1), lambda out: out.mean((2, 3)) if out.dim() == 4 else None),
    (grid, lambda out: out.mean(1) if out.dim() == 3 else None),
    (patches, lambda out: out[:, 0] if out.dim() == 3 else None),
    (patches, lambda out: out[:, 1:].mean(1) if out.dim() == 3 else None),
    (
        with_class_token,
        lambda out: torch.cat([out[:, 0], out[:, 1:].mean(1)], dim=1) if out.dim() == 3 else None,
    ),
)
