"""Less memory for little time: what norms, activations and gates put out is not kept for the gradient but made again.

Convolutions, attention and all other products of matrices are computed once, except the one in front of a gate (GEGLU):
its output is the widest of a transformer block, and made again from a narrow input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from weakref import ref

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHEAP = (nn.GroupNorm, nn.LayerNorm, nn.SiLU, nn.GELU)


def kept_storages(module: nn.Module) -> dict[int, int]:
    """Bytes of what the last forward pass of networks under `recomputation` kept for its backward pass, by address."""
    return {
        address: size
        for part in module.modules()
        if isinstance(part.forward, _Memory)
        for address, size in part.forward.kept.items()
    }


@contextmanager
def recomputation(network: nn.Module, made_again: tuple[type[nn.Module], ...] = CHEAP) -> Iterator[None]:
    """Within the block the network's forward pass keeps less for its backward pass.

    Outputs and gradients do not change by a bit.

    made_again: the kinds of modules whose output is not kept, beside gates.
    For networks of diffusers and of ComfyUI alike: norms and activations that are modules, and gates called GEGLU.
    Raises RuntimeError in the backward pass if something that is needed again was overwritten in place.
    """
    memory = _Memory(network.forward, next(network.parameters()).device.type)
    with ExitStack() as undo:
        for module in network.modules():
            if isinstance(module, made_again) and not getattr(module, "inplace", False):
                undo.callback(module.register_forward_hook(memory.saw).remove)
            elif type(module).__name__ == "GEGLU":
                undo.callback(_restore, module, vars(module).get("forward"))
                module.forward = memory.gate(module)
        undo.callback(_restore, network, vars(network).get("forward"))
        network.forward = memory
        yield


class _Memory:
    """A forward pass that gives autograd the recipe of a tensor where it would keep the tensor.

    kept: bytes of what the last pass kept nevertheless, by address.
    """

    def __init__(self, forward: Callable, device: str):
        self.kept: dict[int, int] = {}
        self._forward, self._device = forward, device
        self._recipes: dict[int, tuple[ref, int, _Made]] | None = None
        self._arithmetic: AbstractContextManager = torch.no_grad()

    def __call__(self, *args, **kwargs):
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        dtype, narrow = torch.get_autocast_dtype(self._device), torch.is_autocast_enabled(self._device)
        self._arithmetic = torch.autocast(self._device, dtype, enabled=narrow, cache_enabled=False)
        self._recipes, self.kept = {}, {}
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack):
                return self._forward(*args, **kwargs)
        finally:
            self._recipes = None

    def saw(self, function: Callable[..., Tensor], inputs: tuple, output: Tensor) -> None:
        """A forward hook: `output` can be made again."""
        # By its address, which is the output's as long as that lives. Nothing is known any more once the pass has
        # ended.
        if self._recipes is not None and inputs and output.requires_grad and output is not inputs[0]:
            recipe = _Made(function, self._source(inputs[0]), self._arithmetic)
            self._recipes[_address(output)] = ref(output), output._version, recipe

    def gate(self, module: nn.Module) -> Callable[..., Tensor]:
        proj = module.get_submodule("proj")

        def forward(tokens: Tensor, *_, **__) -> Tensor:
            both = proj(tokens)
            self.saw(proj, (tokens,), both)
            output = _Gate.apply(both)
            self.saw(_gated, (both,), output)
            return output

        return forward

    def _pack(self, tensor: Tensor) -> Tensor | _Kept | _View:
        return tensor if isinstance(tensor, nn.Parameter) else self._source(tensor)  # a parameter is in memory anyway

    def _source(self, tensor: Tensor) -> _Kept | _View:
        """What gives the tensor back: it is made again where that is possible, and kept elsewhere."""
        known = (self._recipes or {}).get(_address(tensor))
        if known is not None:
            alive, version, recipe = known
            output = alive()
            if output is not None and output._version == version:  # not overwritten since
                return _View(recipe, tensor)
        self.kept[_address(tensor)] = tensor.untyped_storage().nbytes()
        return _Kept(tensor)


class _Kept:
    """A tensor that stays in memory."""

    def __init__(self, tensor: Tensor):
        # Keeps the storage, but not the graph: an output that its own node holds is never freed.
        self._tensor, self._version = tensor.detach(), tensor._version

    def value(self) -> Tensor:
        if self._tensor._version != self._version:
            raise RuntimeError(
                "A tensor that the gradient needs was overwritten in place: train without recomputation."
            )
        return self._tensor


class _Made:
    """The output of a function that is made again from its source; in memory from its first reader to its last."""

    def __init__(self, function: Callable[[Tensor], Tensor], source: _Kept | _View, arithmetic: AbstractContextManager):
        self._function, self._source, self._arithmetic = function, source, arithmetic
        self.readers, self._made = 0, None

    def value(self) -> Tensor:
        made = self._made
        if made is None:
            source = self._source.value()
            with self._arithmetic:
                made = self._function(source)
        self._made = made if self.readers > 0 else None
        return made


class _View:
    """Part or whole of what is made again, as autograd saw it."""

    def __init__(self, made: _Made, tensor: Tensor):
        self._made, self._shape = made, (tensor.size(), tensor.stride(), tensor.storage_offset())
        made.readers += 1

    def value(self) -> Tensor:
        self._made.readers -= 1
        return self._made.value().as_strided(*self._shape)


class _Gate(torch.autograd.Function):
    """The gate of Shazeer 2020 (arXiv 2002.05202), first half times GELU of the second; only its input is kept."""

    @staticmethod
    def forward(ctx, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return _gated(both)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        value, gate = both.chunk(2, dim=-1)
        result = torch.empty_like(both)
        of_value, of_gate = result.chunk(2, dim=-1)
        torch.mul(gradient, nn.functional.gelu(gate), out=of_value)
        of_gate.copy_(torch.ops.aten.gelu_backward(gradient * value, gate))
        return result


def _gated(both: Tensor) -> Tensor:
    value, gate = both.chunk(2, dim=-1)
    return value * nn.functional.gelu(gate)


def _unpack(packed: Tensor | _Kept | _View) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    if isinstance(packed, _Kept):
        return packed.value()
    with torch.no_grad():
        return packed.value()


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _restore(module: nn.Module, forward: Callable | None) -> None:
    if forward is None:
        del module.forward
    else:
        module.forward = forward
