"""The other PyTorch layout of the same generator, which rosinality's files and everything derived from them have.

Both hold the same tensors, so names and shapes are all there is to it: rosinality's have axes of one element in
addition. Constant filters are checked and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from .errors import Refused
from .fir import kernel
from .layout import MEAN_STYLE

_FILTER = re.compile(
    r"(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel"
    r"|((backbone\.)?synthesis|superresolution)\.((b|block)\d+\.(conv[01]\.|torgb\.)?)?resample_filter"
)
_PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "activate.bias": "bias",
    "noise.weight": "noise_strength",
    "bias": "bias",
}


def from_rosinality(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A rosinality state dict, `latent_avg` among it where there is one, under the names of `layout.tensor_shapes`."""
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        here = _name(name)
        if here in weights:
            raise Refused(f"its tensor '{name}' appears twice")
        weights[here] = _squeezed(here, tensor)
    return weights


def without_filters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of either layout without its constant filters.

    Raises Refused if one is not StyleGAN2's [1, 3, 3, 1].
    """
    for name, tensor in state.items():
        if _FILTER.fullmatch(name) and not _is_standard(tensor):
            raise Refused(f"its filter '{name}' is not StyleGAN2's [1, 3, 3, 1]")
    return {name: tensor for name, tensor in state.items() if not _FILTER.fullmatch(name)}


def check_architecture(names: Iterable[str]) -> None:
    """Refuses by name what is known and is not StyleGAN2's skip architecture. names: of any layout."""
    names = list(names)
    for reason, pattern in _OTHERS:
        if any(re.match(pattern, name) for name in names):
            raise Refused(reason)
    images = {
        match[1]
        for name in names
        if (match := re.match(r"synthesis[./](?:b|\d+x)(\d+)[./](?:torgb\.weight|ToRGB/weight)$", name))
    }
    blocks = {
        match[1]
        for name in names
        if (match := re.match(r"synthesis[./](?:b|\d+x)(\d+)[./](?:conv1\.weight|Conv1?/weight)$", name))
    }
    if len(images) == 1 < len(blocks):
        raise Refused(
            "it is a StyleGAN2 of the 'orig' architecture, with one image layer: give one of the 'skip' architecture"
        )


_OTHERS = [
    (
        "it is an EG3D generator in another form than the published one: give the .pkl",
        r"(backbone|superresolution|decoder\.net)\.",
    ),
    (
        "it is a StyleGAN3 generator, whose network is different: give a StyleGAN2 generator",
        r"synthesis\.(L\d+_\d+_\d+|input)\.",
    ),
    (
        "it is a StyleGAN2 of the 'resnet' architecture: give one of the 'skip' architecture",
        r"synthesis[./](b\d+\.skip\.|\d+x\d+/Skip/)",
    ),
    (
        "it is a StyleGAN1 generator: give a StyleGAN2 generator",
        r".*(StyleMod|ToRGB_lod\d)|(module\.)?(generator|g_running)\.progression\.",
    ),
    ("it is a Progressive GAN's generator: give a StyleGAN2 generator", r"(synthesis/)?4x4/Dense/"),
    (
        "its labels are concatenated, as in TensorFlow's first StyleGAN2: give one without labels or of stylegan2-ada",
        r"mapping/LabelConcat/",
    ),
]


def _name(name: str) -> str:
    if match := re.fullmatch(r"style\.([1-9]\d*)\.(weight|bias)", name):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"
    match = re.fullmatch(r"(conv1|to_rgb1|convs\.\d\d?|to_rgbs\.\d\d?)\.(.*)", name)
    if match and match[2] in _PARTS:
        return f"{_layer(match[1])}.{_PARTS[match[2]]}"
    if match := re.fullmatch(r"noises\.noise_(\d\d?)", name):
        number = int(match[1])
        return f"{_layer(f'convs.{number - 1}' if number else 'conv1')}.noise_const"
    fixed = {"input.input": "synthesis.b4.const", "latent_avg": MEAN_STYLE}
    if name not in fixed:
        raise Refused(f"its tensor '{name}' belongs to no StyleGAN2 generator")
    return fixed[name]


def _layer(name: str) -> str:
    if name in ("conv1", "to_rgb1"):
        return f"synthesis.b4.{'conv1' if name == 'conv1' else 'torgb'}"
    group, _, number = name.partition(".")
    if group == "to_rgbs":
        return f"synthesis.b{8 << int(number)}.torgb"
    return f"synthesis.b{8 << int(number) // 2}.conv{int(number) % 2}"


def _leading_ones(name: str) -> int:
    """Axes of one element that rosinality puts before a tensor's own."""
    if name.endswith("noise_const"):
        return 2
    return int(bool(re.search(r"(const|noise_strength|(conv[01]|torgb)\.weight|torgb\.bias)$", name)))


def _squeezed(name: str, tensor: Tensor) -> Tensor:
    ones = _leading_ones(name)
    trailing = 2 if name.endswith("torgb.bias") else 0
    added = (*tensor.shape[:ones], *tensor.shape[tensor.ndim - trailing :])
    if tensor.ndim < ones + trailing or any(size != 1 for size in added):
        raise Refused(f"its tensor for '{name}' has shape {list(tensor.shape)}, which is not rosinality's")
    return tensor.reshape(tensor.shape[ones : tensor.ndim - trailing])


def _is_standard(tensor: Tensor) -> bool:
    if (
        tuple(tensor.shape) != (4, 4)
        or not tensor.is_floating_point()
        or not tensor.isfinite().all()
        or not tensor.sum() > 0
    ):
        return False
    tensor = tensor.float()
    return torch.allclose(tensor / tensor.sum() * 4, kernel(tensor), atol=1e-4)
