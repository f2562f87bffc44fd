"""What one image costs in memory between forward and backward pass, measured."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .recomputation import kept_storages


def activation_bytes(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes that a forward pass keeps for its backward pass, beyond the module's own tensors.

    On a GPU the allocator's peak during the pass; elsewhere the tensors that autograd saves, which leaves out what
    gradient checkpointing keeps at the borders of its blocks.
    """
    device = next(module.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        forward()
        return torch.cuda.max_memory_allocated(device) - before
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        # Keeps the storage, so that no address is used twice, but not the graph: an output that its own node holds is
        # never freed.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()
    del output
    saved |= {address: size for address, size in kept_storages(module).items() if address not in own}
    return sum(saved.values())
