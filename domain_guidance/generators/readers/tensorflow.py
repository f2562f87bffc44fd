"""The pickles of NVIDIA's TensorFlow stylegan2 and stylegan2-ada: (G, D, Gs).

The averaged generator, Gs, is taken. TensorFlow keeps a dense weight as [inputs, outputs], a kernel as [height, width,
inputs, outputs], and flips the kernel of an up-convolution in both axes; its modulation biases lack the 1 that the
other formats include.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import Refused
from .numpy_stand_ins import Array
from .pickle_machine import plain_name
from .stored import StoredTensor, contiguous

PARTS = {"G_mapping/": "mapping/", "G_synthesis/": "synthesis/"}


@dataclass
class Network:
    """For dnnlib.tflib.network.Network: its state, of which only data are read, not the source that it was built by."""

    state: dict[str, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused("it has a network without a state")
        self.state = state

    def part(self, name: str, kind: type) -> Any:
        part = self.state.get(name, kind())
        if not isinstance(part, kind):
            raise Refused(f"its network has no usable {name}")
        return part

    def variables(self) -> dict[str, StoredTensor]:
        return dict(map(_variable, self.part("variables", list)))


def network(arguments: tuple) -> Network:
    if arguments:
        raise Refused("it makes a network in a way that NVIDIA's pickles do not")
    return Network()


def averaged_generator(networks: Any) -> Network:
    """Gs of the triple that such a file holds."""
    if not isinstance(networks, tuple) or len(networks) != 3 or not isinstance(networks[2], Network):
        raise Refused("it holds no averaged generator 'Gs': give the network snapshot that the training wrote")
    return networks[2]


def stored_tensors(generator: Network) -> dict[str, StoredTensor]:
    """The variables of a generator and its two parts, by name.

    Names are `mapping/...`, `synthesis/...` or, for its own, bare.
    """
    found = generator.variables()
    for part, child in generator.part("components", dict).items():
        if not isinstance(child, Network) or child.part("components", dict) or part not in ("mapping", "synthesis"):
            raise Refused(f"its generator has a part '{part}', expected mapping and synthesis")
        found |= {f"{part}/{name}": tensor for name, tensor in child.variables().items()}
    return {_without_scope(name): tensor for name, tensor in found.items()}


def conv_clamp(generator: Network) -> float | None:
    """The bound that its layers clamp to, which stylegan2-ada writes among the settings."""
    bound = generator.part("static_kwargs", dict).get("conv_clamp")
    return float(bound) if type(bound) in (int, float) and 0 < bound < 1e6 else None


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TensorFlow's variables under the names and in the layout of `layout.tensor_shapes`."""
    result = {}
    for name, tensor in tensors.items():
        if not name.endswith("lod"):  # left over from progressive growing; nothing reads it
            here, change = _place(name)
            if here in result:
                raise Refused(f"its variable '{name}' appears twice")
            result[here] = change(tensor)
    return result


def _place(name: str) -> tuple[str, Callable[[Tensor], Tensor]]:
    for pattern, place in _PLACES:
        if match := re.fullmatch(pattern, name):
            return place(match)
    raise Refused(f"its variable '{name}' belongs to no StyleGAN2 generator")


def _dense(target: str, weight: bool) -> tuple[str, Callable[[Tensor], Tensor]]:
    return f"{target}.{'weight' if weight else 'bias'}", _transposed if weight else _same


def _styled(match: re.Match) -> tuple[str, Callable[[Tensor], Tensor]]:
    r, layer, part = match[1], match[2], match[3]
    target = f"synthesis.b{r}.{ {'Conv': 'conv1', 'Conv0_up': 'conv0', 'Conv1': 'conv1', 'ToRGB': 'torgb'}[layer] }"
    if part.startswith("mod_"):
        return f"{target}.affine.{part[4:]}", _transposed if part == "mod_weight" else _plus_one
    if part == "weight":
        return f"{target}.weight", _flipped_kernel if layer == "Conv0_up" else _kernel
    return f"{target}.{part}", _same


def _noise(match: re.Match) -> tuple[str, Callable[[Tensor], Tensor]]:
    layer = int(match[1])
    pixels = 4 << (layer + 1) // 2
    return f"synthesis.b{pixels}.conv{0 if layer % 2 else 1}.noise_const", _map


_SIZE = r"(4|8|16|32|64|128|256|512|1024)x\1"
_PLACES: list[tuple[str, Callable[[re.Match], tuple[str, Callable[[Tensor], Tensor]]]]] = [
    (r"dlatent_avg", lambda m: ("mapping.w_avg", _same)),
    (r"mapping/Dense(\d+)/(weight|bias)", lambda m: _dense(f"mapping.fc{m[1]}", m[2] == "weight")),
    (r"mapping/LabelEmbed/(weight|bias)", lambda m: _dense("mapping.embed", m[1] == "weight")),
    (r"synthesis/4x4/Const/const", lambda m: ("synthesis.b4.const", _only)),
    (rf"synthesis/{_SIZE}/(Conv|Conv0_up|Conv1|ToRGB)/(weight|bias|noise_strength|mod_weight|mod_bias)", _styled),
    (r"synthesis/noise(\d\d?)", _noise),
]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _transposed(tensor: Tensor) -> Tensor:
    return _axes(tensor, 2).T.contiguous()


def _kernel(tensor: Tensor) -> Tensor:
    return _axes(tensor, 4).permute(3, 2, 0, 1).contiguous()


def _flipped_kernel(tensor: Tensor) -> Tensor:
    return _kernel(tensor).flip((2, 3))


def _plus_one(tensor: Tensor) -> Tensor:
    return tensor + 1


def _only(tensor: Tensor) -> Tensor:
    return _axes(tensor, 4)[0] if len(tensor) == 1 else tensor


def _map(tensor: Tensor) -> Tensor:
    return _only(tensor)[0] if tensor.shape[:2] == (1, 1) else tensor


def _axes(tensor: Tensor, count: int) -> Tensor:
    if tensor.ndim != count:
        raise Refused(f"one of its variables has shape {list(tensor.shape)}, expected {count} axes")
    return tensor


def _without_scope(name: str) -> str:
    for scope, part in PARTS.items():
        if name.startswith(scope):
            return part + name.removeprefix(scope)
    return name


def _variable(entry: Any) -> tuple[str, StoredTensor]:
    if not isinstance(entry, tuple) or len(entry) != 2:
        raise Refused("it has a variable that is not a named array")
    name, value = entry
    if type(value) in (int, float):  # a NumPy scalar, as which TensorFlow's session hands out a variable without axes
        return plain_name(name), contiguous(torch.float64, (), memoryview(struct.pack("<d", value)))
    if not isinstance(value, Array) or value.tensor is None:
        raise Refused("it has a variable that is not a named array")
    return plain_name(name), value.tensor
