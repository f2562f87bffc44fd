"""The host's networks made fit for a backward pass.

Nothing overwrites what a gradient needs. What is cheap to make again is not kept for it, or, if asked, nothing within a
block is (gradient checkpointing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import TimestepEmbedSequential
from torch import nn
from torch.utils.checkpoint import checkpoint

from ....domain_guidance.memory.recomputation import recomputation
from .kernels import PlainKernels


@dataclass(frozen=True)
class Way:
    """How a network is differentiated; not every one bears all of it, and `probe` finds out.

    plain_kernels: without the host's fused kernels, which have no gradient. keeps_all: without `recomputation`, which
    networks that write into what they have put out do not allow.
    """

    plain_kernels: bool = False
    keeps_all: bool = False


WAYS = (Way(), Way(plain_kernels=True), Way(keeps_all=True), Way(plain_kernels=True, keeps_all=True))


@contextmanager
def with_gradients(network: nn.Module, save_memory: bool, way: Way = Way()) -> Iterator[None]:
    """Within the block the network can be differentiated.

    save_memory: every block makes its activations a second time.
    """
    with ExitStack() as undo:
        kernels = PlainKernels if way.plain_kernels else nullcontext
        for norm in filter(_is_norm, network.modules()):
            undo.callback(norm.register_forward_pre_hook(_own_input).remove)
        for block in blocks(network) if save_memory else ():
            undo.callback(vars(block).pop, "forward", None)
            block.forward = _forgetting(_within(kernels, block.forward))
        if way.plain_kernels:
            undo.callback(vars(network).pop, "forward", None)
            network.forward = _within(kernels, network.forward)
        if not save_memory and not way.keeps_all:
            undo.enter_context(recomputation(network))
        yield


def blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a UNet (residual blocks, transformers) or of a DiT.

    Never the whole network, which would save nothing.
    """
    containers = [child for child in network.children() if isinstance(child, (nn.ModuleList, TimestepEmbedSequential))]
    return [block for container in containers for item in container.children() for block in _parts(item)]


def _parts(item: nn.Module) -> Iterator[nn.Module]:
    # The host's UNet calls the layers of this container itself, never the container.
    if isinstance(item, TimestepEmbedSequential):
        yield from item.children()
    else:
        yield item


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or type(module).__name__ == "RMSNorm"


def _own_input(_, inputs: tuple) -> tuple | None:
    """Flux's blocks add into the residual stream that a norm has saved for its gradient.

    In a plain backward pass autograd notices; in the second pass of a checkpoint it does not, and the gradient would be
    wrong without a word.
    """
    return (inputs[0].clone(), *inputs[1:]) if torch.is_grad_enabled() else None


def _within(context: Callable[[], AbstractContextManager], forward: Callable) -> Callable:
    """`forward` in the context, also where a checkpoint calls it in the backward pass, which modes do not reach."""

    def inside(*args, **kwargs):
        with context():
            return forward(*args, **kwargs)

    return inside


def _forgetting(forward: Callable) -> Callable:
    def computed(*args, **kwargs):
        # What a block adds into must be there for the second pass as it was for the first.
        return forward(*map(_copied, args), **{name: _copied(value) for name, value in kwargs.items()})

    def checkpointed_forward(*args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(computed, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return checkpointed_forward


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
