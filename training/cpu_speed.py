"""What makes a training on a CPU faster: memory that is kept, and gradients of depthwise convolutions in float32.

    keep_freed_memory()
    with depthwise_in_float32():
        loss = model(pixels)                 # in bfloat16, as before
    loss.backward()

oneDNN has fast bfloat16 kernels for the forward pass of depthwise convolutions, but a reference implementation for
their gradients: without this they take 60% of a training step of EfficientNet and MobileNet, and bfloat16 is slower
than float32. `python -m benchmarks.train_step` measures both.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed_memory() -> None:
    """Let glibc keep what torch frees: else the system clears every page of every large tensor anew, in each step.

    That is an eighth of a training's time. Elsewhere than on glibc nothing changes.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class DepthwiseConvolution(torch.autograd.Function):
    """torch.conv2d with several groups; gradients come in the types of the inputs."""

    @staticmethod
    def forward(ctx, pixels, weight, bias, stride, padding, dilation, groups):
        ctx.save_for_backward(pixels, weight)
        ctx.bias_shape = None if bias is None else list(bias.shape)
        ctx.geometry = stride, padding, dilation, False, [0, 0], groups
        return torch.conv2d(pixels, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, gradient):
        pixels, weight = ctx.saved_tensors
        tensors = gradient.float(), pixels.float(), weight.float()
        of_pixels, of_weight, of_bias = torch.ops.aten.convolution_backward(
            *tensors, ctx.bias_shape, *ctx.geometry, list(ctx.needs_input_grad[:3])
        )
        gradients = (of_pixels, pixels), (of_weight, weight)
        return *(None if given is None else given.to(of.dtype) for given, of in gradients), of_bias, *[None] * 4


class depthwise_in_float32(TorchFunctionMode):  # noqa: N801, a context manager is called like a function
    """Within, convolutions with several groups are computed by DepthwiseConvolution."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and args[6] > 1 and not isinstance(args[4], str):
            pixels, weight, bias, stride, padding, dilation, groups = args
            geometry = (list(_pair(value)) for value in (stride, padding, dilation))
            return DepthwiseConvolution.apply(pixels, weight, bias, *geometry, groups)
        return func(*args, **(kwargs or {}))
