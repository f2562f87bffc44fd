"""Which tensors of a generator an adaptation trains (arXiv 2212.04473)."""

from __future__ import annotations

from collections.abc import Iterable

from .eg3d.layout import Eg3dConfig
from .layout import GeneratorConfig

TRAINED = ("weight", "affine.weight", "noise_strength")


def driven_layers(config: GeneratorConfig | Eg3dConfig) -> tuple[tuple[str, ...], ...]:
    """For each of the synthesis' styles the layers that it drives, as module names.

    A block's toRGB shares its style with the next block's up-convolution; the last style drives a toRGB alone, or, of
    EG3D, the super-resolution too.
    """
    if isinstance(config, Eg3dConfig):
        planes = [[f"backbone.{layer}" for layer in layers] for layers in driven_layers(config.backbone)]
        planes[-1] += [
            f"superresolution.block{block}.{layer}" for block in (0, 1) for layer in ("conv0", "conv1", "torgb")
        ]
        return tuple(map(tuple, planes))
    driven: list[list[str]] = [[] for _ in range(config.style_count)]
    for level, pixels in enumerate(config.resolutions):
        block = f"synthesis.b{pixels}"
        if level:
            driven[2 * level - 1].append(f"{block}.conv0")
        driven[2 * level].append(f"{block}.conv1")
        driven[2 * level + 1].append(f"{block}.torgb")
    return tuple(map(tuple, driven))


def default_selection(config: GeneratorConfig | Eg3dConfig, styles: Iterable[int] | None = None) -> tuple[str, ...]:
    """Names of the trained tensors: convolution weights, their modulation weights and noise strengths.

    Frozen stay the mapping, the constant input, the first 4x4 convolution, every toRGB and every bias. styles: only the
    layers that these styles drive, for adaptive layer selection; of some of them (0 and the last) nothing is trained.
    Of an EG3D generator all of the planes' synthesis and of the super-resolution is trained but the biases, the
    constant input with all styles only; mapping and decoder stay frozen.
    """
    chosen = range(config.style_count) if styles is None else sorted(set(styles))
    driven = driven_layers(config)
    layers = [layer for style in chosen for layer in driven[style]]
    if isinstance(config, Eg3dConfig):
        constant = ["backbone.synthesis.b4.const"] if styles is None else []
        return tuple(
            constant
            + [
                f"{layer}.{part}"
                for layer in layers
                for part in TRAINED
                if not (layer.endswith("torgb") and part == "noise_strength")
            ]
        )
    layers = [layer for layer in layers if not layer.endswith("torgb") and layer != "synthesis.b4.conv1"]
    return tuple(f"{layer}.{part}" for layer in layers for part in TRAINED)
