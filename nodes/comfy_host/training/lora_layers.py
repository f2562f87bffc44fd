"""The adapter form: the host's own trainable LoRA on every layer outside the attentions that read the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from comfy.weight_adapter import LoRAAdapter
from comfy.weight_adapter.bypass import BypassForwardHook
from comfy.weight_adapter.lora import LoraDiff
from torch import Tensor, nn

from ....domain_guidance.domains.text_free import is_cross_attention
from ..guidance.weight_difference import weight_shape


def make_adapters(network: nn.Module, rank: int, seed: int) -> dict[str, LoraDiff]:
    """A LoRA for each linear layer and convolution, by module name. Their product starts at zero, their scale is 1."""
    modules = dict(network.named_modules())
    reading = tuple(f"{name}." for name, module in modules.items() if is_cross_attention(name, module))
    with torch.random.fork_rng(devices=[]):  # the host draws from the global generator
        torch.manual_seed(seed)
        return {
            name: _adapter(module, rank)
            for name, module in modules.items()
            if _is_adapted(module) and not name.startswith(reading)
        }


@contextmanager
def injected(network: nn.Module, adapters: dict[str, LoraDiff]) -> Iterator[None]:
    """Within the block the layers compute with their adapters; the weights are never touched."""
    with ExitStack() as undo:
        for name, adapter in adapters.items():
            hook = BypassForwardHook(network.get_submodule(name), adapter)
            hook.inject()
            undo.callback(hook.eject)
        yield


def lora_tensors(network: nn.Module, adapters: dict[str, LoraDiff], dtype: torch.dtype) -> dict[str, Tensor]:
    """The adapters under the names of a LoRA file, in their layers' own shapes."""
    tensors = {}
    for name, adapter in adapters.items():
        kernel = weight_shape(network.get_submodule(name))[2:]
        up, down = adapter.lora_up.weight.detach(), adapter.lora_down.weight.detach()
        tensors[f"{name}.lora_up.weight"] = up.reshape(*up.shape, *[1] * len(kernel)).to(dtype)
        tensors[f"{name}.lora_down.weight"] = down.reshape(len(down), -1, *kernel).to(dtype)
        tensors[f"{name}.alpha"] = adapter.alpha.detach().clone()
    return tensors


def _is_adapted(module: nn.Module) -> bool:
    # The host's layers alone can be patched when the file is used.
    layer = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and hasattr(module, "comfy_cast_weights")
    return layer and getattr(module, "groups", 1) == 1


def _adapter(module: nn.Module, rank: int) -> LoraDiff:
    shape = weight_shape(module)
    rank = min(rank, shape[0], shape[1:].numel())
    # On the CPU, so that a seed means the same on every device.
    adapter = LoRAAdapter.create_train(torch.empty(shape), rank=rank, alpha=float(rank))
    adapter.requires_grad_(True)
    adapter.alpha.requires_grad_(False)
    return adapter
