"""The gradient through a frozen network to its input, in about a third of the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from .recomputation import recomputation

# A SiLU is not made again: it was kept for the convolution after it alone, which here keeps its weight and nothing
# else.
MADE_AGAIN = (nn.GroupNorm, nn.LayerNorm)


def is_torchs_own(module: nn.Conv2d) -> bool:
    return type(module) is nn.Conv2d


@contextmanager
def frozen_gradient(network: nn.Module, is_plain: Callable[[nn.Conv2d], bool] = is_torchs_own) -> Iterator[None]:
    """Within the block a frozen network keeps little more than the inputs of its norms for the backward pass.

    PyTorch keeps every convolution's input, which only the gradient of a weight reads. Outputs and gradients do not
    change by a bit. For networks whose convolutions are `nn.Conv2d` modules with padding by zeros; others are left as
    they are. is_plain: whether a module computes just what `nn.Conv2d` does, which a host can say of its own
    subclasses. Raises ValueError if a parameter of the network requires a gradient.
    """
    if any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(
            "A network that is trained was to be run as a frozen one: freeze it with requires_grad_(False)."
        )
    with ExitStack() as undo:
        undo.enter_context(recomputation(network, MADE_AGAIN))
        for module in network.modules():
            if (
                isinstance(module, nn.Conv2d)
                and is_plain(module)
                and module.padding_mode == "zeros"
                and not isinstance(module.padding, str)
            ):
                undo.callback(delattr, module, "forward")
                vars(module)["forward"] = partial(_convolved, module)
        yield


def _convolved(module: nn.Conv2d, x: Tensor) -> Tensor:
    return _Convolution.apply(
        x, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups
    )


class _Convolution(torch.autograd.Function):
    """A convolution that keeps its weight alone and has a gradient to its input alone."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *sizes: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.sizes = x.shape, sizes
        ctx.channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return nn.functional.conv2d(x, weight, bias, *sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        weight = weight.to(gradient.dtype)
        if ctx.channels_last:  # the kernel that would have seen this of the input
            weight = weight.contiguous(memory_format=torch.channels_last)
        found = conv2d_input(ctx.shape, weight, gradient, *ctx.sizes)
        return found, None, None, *(None for _ in ctx.sizes)
