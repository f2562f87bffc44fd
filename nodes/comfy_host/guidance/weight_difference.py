"""Two MODELs on the same weights: evaluate the second as the first plus its LoRA, without a second UNet in memory.

Weights in memory can carry the patches of one patcher only; a second one that shares them is silently ignored by a
plain evaluation (Comfy-Org/ComfyUI issue 14521). Here the missing patches run beside the layers, through the host's
bypass hooks, around one evaluation, and the weights are never touched: W + dW acts as f(x) + h(x), h linear in dW.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection
from comfy.weight_adapter import LoHaAdapter, LoKrAdapter, LoRAAdapter
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor, nn

# Where these adapters keep a DoRA scale; with one the layer is no longer base plus difference.
DORA_SCALE = {LoRAAdapter: 4, LoHaAdapter: 7, LoKrAdapter: 8}
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers whose answers a difference of weights adds to
LORA_RESHAPE = 5
NO_STRENGTH = 1e-9  # strengths that cancel may leave a rounding
LOKR_FACTORS = slice(0, 2)  # None where a factor is a product itself


MakeHook = Callable[..., BypassForwardHook]  # (layer, adapter, strength)


class CellsHook(BypassForwardHook):
    """The host's hook, on layers too whose input and output are the features of a cube's occupied cells."""

    def _bypass_forward(self, x, *args, **kwargs):
        if isinstance(x, Tensor):
            return super()._bypass_forward(x, *args, **kwargs)
        base_out = self.original_forward(x, *args, **kwargs)
        added = self.adapter.h(x.feats, base_out.feats)
        return base_out.replace(self.adapter.g(base_out.feats + added))


@dataclass(frozen=True)
class Layer:
    """One added difference. module: dotted name in the BaseModel; strength: negative takes the adapter away."""

    module: str
    adapter: object
    strength: float


@dataclass(frozen=True)
class WeightDifference:
    """What has to be added to a loaded MODEL to make it another one on the same weights.

    injections: what the host's own bypass loaders have put on the one patcher and not on the other, by which they too
    run LoRAs beside the weights.
    """

    layers: tuple[Layer, ...] = ()
    injections: tuple[PatcherInjection, ...] = ()
    _hooks: list[BypassForwardHook] = field(default_factory=list, repr=False, compare=False)

    @property
    def is_nothing(self) -> bool:
        return not self.layers and not self.injections

    @contextmanager
    def applied(self, model: BaseModel, hook: MakeHook = CellsHook) -> Iterator[None]:
        """Inside, `model` computes with the difference; afterwards it is as before, also after an exception.

        hook: makes what runs an adapter beside a layer; the same one every time.
        """
        with ExitStack() as undo:
            for injection in self.injections:
                injection.inject(model.current_patcher)
                undo.callback(injection.eject, model.current_patcher)
            for each in self._hooks_on(model, hook):
                each.inject()
                undo.callback(each.eject)
            yield

    def _hooks_on(self, model: BaseModel, hook: MakeHook) -> list[BypassForwardHook]:
        # Made once: the host moves a hook's adapter to the device, where it then stays as long as the run.
        if not self._hooks:
            modules = [model.get_submodule(layer.module) for layer in self.layers]
            adapters = [_prepared(layer.adapter, module) for layer, module in zip(self.layers, modules)]
            self._hooks.extend(hook(m, a, layer.strength) for layer, m, a in zip(self.layers, modules, adapters))
        return self._hooks


def difference(target: ModelPatcher, loaded: ModelPatcher, *, add_only: bool) -> WeightDifference:
    """`target` minus `loaded`, two MODELs of one `.model`.

    A LoRA on both, also several times, counts with the difference of its strengths.

    add_only: keep what `loaded` has beyond `target`, so that a domain LoRA sits on top of the user's own, wherever in
    the graph the two branches part. Raises ValueError for a patch that is not a difference of a layer's output.
    """
    layers = [
        _layer(target, key, patch, strength)
        for key in dict.fromkeys((*target.patches, *loaded.patches))
        for patch, strength in _changes(target.patches.get(key, ()), loaded.patches.get(key, ()), add_only)
        if abs(strength) > NO_STRENGTH
    ]
    return WeightDifference(tuple(layers), _injections(target, loaded))


def _changes(wanted: Sequence[tuple], there: Sequence[tuple], add_only: bool) -> list[tuple[tuple, float]]:
    """Each LoRA of one weight once, with what it has in `wanted` beyond `there`; it may be on either several times."""
    found: list[tuple[tuple, list[float]]] = []
    for patches, sign in ((wanted, 1.0), (there, -1.0)):
        for patch in patches:
            strengths = next((known for other, known in found if _same_patch(other, patch)), None)
            if strengths is not None:
                strengths.append(sign * patch[0])
            elif sign > 0 or not add_only:
                found.append((patch, [sign * patch[0]]))
    return [(patch, math.fsum(strengths)) for patch, strengths in found]


def _injections(target: ModelPatcher, loaded: ModelPatcher) -> tuple[PatcherInjection, ...]:
    there = [id(injection) for injections in loaded.injections.values() for injection in injections]
    return tuple(i for injections in target.injections.values() for i in injections if id(i) not in there)


def _same_patch(a: tuple, b: tuple) -> bool:
    """One file's LoRA, also when two loader nodes read it."""
    return a[2:] == b[2:] and (
        a[1] is b[1] or (type(a[1]) is type(b[1]) and _same_values(_values(a[1]), _values(b[1])))
    )


def _values(data):
    return data if isinstance(data, tuple) else getattr(data, "weights", None)


def _same_values(a, b) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same_values, a, b))
    return a is b or (isinstance(a, (int, float, str)) and a == b)


def _layer(model: ModelPatcher, key: str, patch: tuple, strength: float) -> Layer:
    _, data, strength_model, offset, function = patch
    module, _, parameter = key.rpartition(".")
    adapter = _adapter(data, parameter)
    if isinstance(adapter, tuple(DORA_SCALE)) and not isinstance(model.model.get_submodule(module), LINEAR):
        adapter = None  # the weight of something else, such as the gate of a mixture of experts
    if adapter is None or strength_model != 1.0 or function is not None:
        raise ValueError(
            f"The LoRA on domain_model changes '{key}' in a way ({_kind(data)}) that cannot run alongside the "
            "shared weights: load the checkpoint a second time for the domain branch and put the LoRA on that one."
        )
    return Layer(module, adapter if offset is None else SlicedAdapter(adapter, *offset), strength)


def _adapter(data, parameter: str):
    if type(data) in DORA_SCALE:
        reshaped = isinstance(data, LoRAAdapter) and data.weights[LORA_RESHAPE] is not None
        plain = data.weights[DORA_SCALE[type(data)]] is None and not reshaped and parameter == "weight"
        return data if plain else None
    if isinstance(data, tuple) and (len(data) == 1 or data[0] == "diff"):
        return PlainDifference(parameter, (cast(Tensor, data[-1][0] if len(data) == 2 else data[0]),))
    return None


def _prepared(adapter, module: nn.Module):
    # A copy: the hook moves and casts the adapter's tensors, which the LoRA on another branch still needs as they are.
    adapter = copy.copy(adapter)
    if isinstance(adapter, SlicedAdapter):
        adapter.adapter = _computable(adapter.adapter, module, adapter.length)
    else:
        adapter = _computable(adapter, module)
    if isinstance(adapter, PlainDifference):
        adapter.module = module
    return adapter


def _computable(adapter, module: nn.Module, rows: int | None = None):
    """The adapter itself, or its whole difference of the weight where the host's bypass cannot run it.

    The bypass takes Kronecker products on convolutions, and factors that are products themselves, in other shapes and
    with another scale than the host's own patching does. rows: of the part of the weight that it changes, all if None.
    """
    is_convolution = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    decomposed = isinstance(adapter, LoKrAdapter) and any(factor is None for factor in adapter.weights[LOKR_FACTORS])
    if not decomposed and not (is_convolution and isinstance(adapter, (LoKrAdapter, LoHaAdapter))):
        return adapter
    shape = weight_shape(module)
    nothing = torch.zeros(
        shape if rows is None else (rows, *shape[1:]), device=comfy.model_management.get_torch_device()
    )
    whole = adapter.calculate_weight(nothing, adapter.name, 1.0, 1.0, None, lambda change: change)
    return PlainDifference("weight", (whole,))


def weight_shape(layer: nn.Module) -> torch.Size:
    """The shape of a layer's weight."""
    return cast(Tensor, layer.weight).shape


def _kind(data) -> str:
    return (
        data[0] if isinstance(data, tuple) and isinstance(data[0], str) else getattr(data, "name", type(data).__name__)
    )


class PlainDifference:
    """A whole weight or bias difference as a bypass adapter.

    The host's own LoRA trainer makes such differences for biases and norms.
    """

    # What the host's bypass hook sets before it asks.
    multiplier: float
    is_conv: bool
    conv_dim: int
    kw_dict: dict[str, Any]
    module: nn.Module  # set when the adapter is prepared for its layer

    def __init__(self, parameter: str, weights: tuple[Tensor]):
        self.parameter, self.weights = parameter, weights

    def h(self, x: Tensor, base_out: Tensor) -> Tensor:
        delta = self.weights[0].to(base_out) * self.multiplier
        if self.parameter == "bias":
            return _per_channel(delta, self.module, base_out)
        if self.is_conv:
            return (F.conv1d, F.conv2d, F.conv3d)[self.conv_dim - 1](x, delta, **self.kw_dict)
        if delta.ndim == 2:
            return F.linear(x, delta)
        return _normalised(x, self.module) * _per_channel(delta, self.module, base_out)

    def g(self, y: Tensor) -> Tensor:
        return y


def _per_channel(values: Tensor, module: nn.Module, output: Tensor) -> Tensor:
    """Values [C] in a shape that broadcasts over a layer's output.

    Channels come second for convolutions and group norms, last for all other layers.
    """
    channels_second = isinstance(module, (nn.GroupNorm, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return values.reshape(-1, *[1] * (output.ndim - 2)) if channels_second else values.expand_as(output)


def _normalised(x: Tensor, module: nn.Module) -> Tensor:
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, eps=module.eps)
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)
    rms: Any = module  # torch's own RMSNorm, or one of the host's
    return F.rms_norm(x, rms.normalized_shape, eps=rms.eps)


class SlicedAdapter:
    """A LoRA on a part of a fused layer (q of a joint qkv): its output goes to that part alone."""

    is_conv: bool  # set by the host's bypass hook

    def __init__(self, adapter, dim: int, start: int, length: int):
        if dim != 0:
            raise ValueError(
                f"The LoRA on domain_model changes inputs {start} to {start + length} of a fused layer, but only "
                "outputs are supported: bake it into a checkpoint."
            )
        self.adapter, self.start, self.length = copy.copy(adapter), start, length

    @property
    def weights(self):
        return self.adapter.weights

    @weights.setter
    def weights(self, moved):
        self.adapter.weights = moved

    def h(self, x: Tensor, base_out: Tensor) -> Tensor:
        vars(self.adapter).update({k: v for k, v in vars(self).items() if k not in ("adapter", "start", "length")})
        out = torch.zeros_like(base_out)
        part = out.narrow(1 if self.is_conv else -1, self.start, self.length)
        part.copy_(self.adapter.h(x, part))
        return out

    def g(self, y: Tensor) -> Tensor:
        return y
