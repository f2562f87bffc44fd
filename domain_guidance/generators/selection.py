"""Which tensors of a generator an adaptation trains (arXiv 2212.04473)."""

from __future__ import annotations

from collections.abc import Iterable

from .layout import GeneratorConfig

TRAINED = ("weight", "affine.weight", "noise_strength")


def driven_layers(config: GeneratorConfig) -> tuple[tuple[str, ...], ...]:
    """For each of the synthesis' styles the layers that it drives, as module names.

    A block's toRGB shares its style with the next block's up-convolution; the last style drives a toRGB alone.
    """
    driven: list[list[str]] = [[] for _ in range(config.style_count)]
    for level, pixels in enumerate(config.resolutions):
        block = f"synthesis.b{pixels}"
        if level:
            driven[2 * level - 1].append(f"{block}.conv0")
        driven[2 * level].append(f"{block}.conv1")
        driven[2 * level + 1].append(f"{block}.torgb")
    return tuple(map(tuple, driven))


def default_selection(config: GeneratorConfig, styles: Iterable[int] | None = None) -> tuple[str, ...]:
    """Names of the trained tensors: convolution weights, their modulation weights and noise strengths.

    Frozen stay the mapping, the constant input, the first 4x4 convolution, every toRGB and every bias. styles: only the
    layers that these styles drive, for adaptive layer selection; of some of them (0 and the last) nothing is trained.
    """
    chosen = range(config.style_count) if styles is None else sorted(set(styles))
    driven = driven_layers(config)
    layers = [layer for style in chosen for layer in driven[style] if not layer.endswith("torgb") and layer != "synthesis.b4.conv1"]
    return tuple(f"{layer}.{part}" for layer in layers for part in TRAINED)
