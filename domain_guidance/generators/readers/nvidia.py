"""The pickles of stylegan2-ada-pytorch and stylegan3: a dict of networks.

The averaged generator, G_ema, is taken. The pickles carry Python source that their own loader executes. Here it is text
that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import Refused
from .pickle_machine import plain_name
from .stored import StoredTensor

MAX_DEPTH, MAX_MODULES, MAX_TENSORS = 8, 2_000, 20_000


@dataclass
class Module:
    """An inert network or layer: the name of its class and what it had in its attributes."""

    class_name: str
    state: dict


def reconstruct(arguments: tuple) -> Module:
    """Stand in for torch_utils.persistence._reconstruct_persistent_obj.

    Its argument is a dict of class name, state and the discarded source.
    """
    meta = arguments[0] if len(arguments) == 1 else None
    if (
        not isinstance(meta, dict)
        or not isinstance(meta.get("class_name"), str)
        or not isinstance(meta.get("state"), dict)
    ):
        raise Refused("it has a network without class name and state")
    return Module(meta["class_name"], meta["state"])


class PlainModule(Module):
    """One of a class that pickles in the usual way: the state follows it."""

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused("it has a network without a state")
        self.state = state


def plain(class_name: str) -> Callable[[tuple], PlainModule]:
    """For a layer's class that a pickle names in the usual way."""

    def make(arguments: tuple) -> PlainModule:
        if arguments:
            raise Refused(f"it makes a '{class_name}' in a way that pickles of networks do not")
        return PlainModule(class_name, {})

    return make


@dataclass(frozen=True)
class Network:
    """A generator: its modules by their names, each followed by a dot, the generator itself under none."""

    modules: dict[str, Module]

    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors under NVIDIA's names."""
        named = {}
        for prefix, module in self.modules.items():  # many of which can share their tensors
            named |= {
                plain_name(prefix + name): tensor
                for part in ("_parameters", "_buffers")
                for name, tensor in _part(module, part).items()
            }
            if len(named) > MAX_TENSORS:
                raise Refused(f"its network has more than {MAX_TENSORS:,} tensors")
        for name, tensor in named.items():
            if tensor is not None and not isinstance(tensor, StoredTensor):
                raise Refused(f"its network has an entry '{name}' among its tensors that is not one")
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def conv_clamp(self, part: str = "") -> float | None:
        """The bound that the layers of a part of it clamp to."""
        states = [module.state for prefix, module in self.modules.items() if prefix.startswith(part)]
        clamps = {state["conv_clamp"] for state in states if _is_number(state.get("conv_clamp", ""))}
        if len(clamps) > 1:
            raise Refused("its layers clamp to different bounds, which is no StyleGAN2 generator")
        return clamps.pop() if clamps else None


def averaged_generator(networks: Any) -> Network:
    """G_ema of the dict that such a file holds."""
    generator = networks.get("G_ema") if isinstance(networks, dict) else None
    if not isinstance(generator, Module):
        raise Refused("it holds no averaged generator 'G_ema': give the network snapshot that the training wrote")
    return Network(dict(_modules(generator)))


def _modules(root: Module) -> list[tuple[str, Module]]:
    found, waiting = [], [("", root, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        found.append((prefix, module))
        children = _part(module, "_modules").items()
        if depth == MAX_DEPTH:
            raise Refused(f"its network has more than {MAX_DEPTH} levels of layers in layers")
        if len(found) + len(waiting) + len(children) > MAX_MODULES:
            raise Refused(f"its network has more than {MAX_MODULES:,} layers")
        for name, child in children:
            if child is not None and not isinstance(child, Module):
                raise Refused(f"its network has a layer '{plain_name(prefix + name)}' that is not one")
            if child is not None:
                waiting.append((f"{prefix}{name}.", child, depth + 1))
    return found


def _part(module: Module, name: str) -> dict:
    part = module.state.get(name, {})
    if not isinstance(part, dict):
        raise Refused("its network is not built as PyTorch's are")
    return part


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e6
