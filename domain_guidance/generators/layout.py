"""What a StyleGAN2 generator (skip architecture) consists of: its sizes, and the name and shape of every tensor.

The names are those of the published NVIDIA files (stylegan2-ada-pytorch), without the constant filters. Everything is
read from the shapes; a file's own word about its sizes is never needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from .errors import Refused

Shapes = Mapping[str, tuple[int, ...]]
RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)
MEAN_STYLE = "mapping.w_avg"
MAX_SIZE = 8192  # of a layer, a latent or a label


@dataclass(frozen=True)
class GeneratorConfig:
    """The sizes of a generator.

    widths: channels of the blocks at 4, 8, ... `resolution` px. z_dim, w_dim: numbers of a latent and of a style.
    c_dim: numbers of a label, 0 for none. mapping_layers: fully connected layers from latent to style.
    conv_clamp: bound of every layer's output, None for none; NVIDIA's training configurations have 256. channels: of
    the image.
    """

    architecture: ClassVar[str] = "stylegan2"

    resolution: int
    widths: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    mapping_layers: int = 8
    conv_clamp: float | None = None
    channels: int = 3

    def __post_init__(self):
        if self.conv_clamp is not None and not self.conv_clamp > 0:
            raise ValueError(f"The clamp {self.conv_clamp} is given, expected a positive bound or None.")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Pixels of the blocks, from 4 up."""
        return tuple(4 << level for level in range(len(self.widths)))

    @property
    def style_count(self) -> int:
        """Styles of one image, two for each block: a toRGB shares its style with the next block's up-convolution."""
        return 2 * len(self.widths)

    def inferred(self, shapes: Shapes) -> GeneratorConfig:
        """The sizes of the generator of these tensors; what shapes do not tell is this one's. Raises Refused."""
        return infer_config(shapes, conv_clamp=self.conv_clamp)


def standard_config(resolution: int, *, base: int = 32768, widest: int = 512, **sizes) -> GeneratorConfig:
    """The config of the published sizes: min(base // r, widest) channels at r px.

    base: 32768 for config-f, 16384 for the smaller ones. sizes: the other fields of GeneratorConfig.
    """
    widths = tuple(min(base // r, widest) for r in (4, *RESOLUTIONS) if r <= resolution)
    return GeneratorConfig(resolution, widths, **sizes)


def tensor_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a generator, buffers included."""
    return {**dict(_mapping_shapes(config)), **dict(_synthesis_shapes(config))}


def infer_config(shapes: Shapes, *, optional: Collection[str] = (), conv_clamp: float | None = None) -> GeneratorConfig:
    """The sizes of the generator that tensors of these names and shapes make up; every one is checked.

    optional: names that may be missing. Raises Refused naming the first tensor that does not fit.
    """
    config = infer_sizes(shapes, conv_clamp=conv_clamp)
    check_shapes(shapes, tensor_shapes(config), optional=optional)
    return config


def infer_sizes(shapes: Shapes, *, prefix: str = "", conv_clamp: float | None = None) -> GeneratorConfig:
    """The sizes of a generator, as far as the tensors that decide them tell.

    Their names begin with `prefix`; the others are not looked at.
    """
    blocks = re.compile(re.escape(prefix) + r"synthesis\.b(\d{1,4})\.conv1\.weight")
    layers = re.compile(re.escape(prefix) + r"mapping\.fc\d+\.weight")
    pixels = tuple(sorted(int(match[1]) for name in shapes if (match := blocks.fullmatch(name))))
    if pixels != (4, *RESOLUTIONS)[: len(pixels)] or len(pixels) < 2:
        raise Refused(
            f"its blocks are of {list(pixels[:10])} pixels, expected 4, 8, ... up to 1024: give a StyleGAN2 "
            "generator's file"
        )
    w_dim = size(shapes, f"{prefix}synthesis.b4.conv1.affine.weight", 1, of=2)
    c_dim = size(shapes, f"{prefix}mapping.embed.weight", 1, of=2) if f"{prefix}mapping.embed.weight" in shapes else 0
    config = GeneratorConfig(
        resolution=pixels[-1],
        widths=tuple(size(shapes, f"{prefix}synthesis.b{r}.conv1.weight", 0, of=4) for r in pixels),
        z_dim=size(shapes, f"{prefix}mapping.fc0.weight", 1, of=2) - (w_dim if c_dim else 0),
        w_dim=w_dim,
        c_dim=c_dim,
        mapping_layers=sum(bool(layers.fullmatch(name)) for name in shapes),
        conv_clamp=conv_clamp,
    )
    if max(config.z_dim, config.w_dim, config.c_dim, *config.widths) > MAX_SIZE:
        raise Refused(f"its layers are wider than {MAX_SIZE:,}, and no known generator has more than 512")
    if config.z_dim > config.w_dim:  # in every published one both are 512; a label's embedding is as long as a style
        raise Refused(
            f"its mapping reads {config.z_dim} numbers, more than the {config.w_dim} of a style, as that of a "
            "generator with labels whose label embedding was lost in a conversion: give the original file"
        )
    return config


def check_shapes(shapes: Shapes, wanted: Shapes, *, optional: Collection[str] = ()) -> None:
    """Check the shapes of all tensors of a generator.

    Raises Refused if one is missing, unknown, empty or of another shape than the wanted one.
    """
    for name, shape in shapes.items():
        if name not in wanted:
            raise Refused(
                f"its tensor '{name}' belongs to no generator of this kind and size: give an unchanged generator's file"
            )
        if tuple(shape) != wanted[name] or 0 in shape:
            raise Refused(
                f"its tensor '{name}' has shape {list(shape)}, expected {list(wanted[name])}: the file is damaged "
                "or of another network"
            )
    for name in wanted.keys() - shapes.keys() - set(optional):
        raise Refused(f"its tensor '{name}' is missing: give a complete generator's file")


def noise_names(config: GeneratorConfig) -> Iterator[tuple[str, int]]:
    """The constant noise maps and their pixels, in the order of the layers."""
    for r in config.resolutions:
        for layer in ("conv1",) if r == 4 else ("conv0", "conv1"):
            yield f"synthesis.b{r}.{layer}.noise_const", r


def size(shapes: Shapes, name: str, axis: int, *, of: int) -> int:
    """One of the sizes of a tensor that must be there, with `of` axes."""
    if name not in shapes:
        raise Refused(f"its tensor '{name}' is missing: give a complete generator's file")
    if len(shapes[name]) != of:
        raise Refused(
            f"its tensor '{name}' has shape {list(shapes[name])}, expected {of} axes: the file is damaged or of "
            "another network"
        )
    return shapes[name][axis]


def _mapping_shapes(config: GeneratorConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    inputs = config.z_dim
    if config.c_dim:
        yield "mapping.embed.weight", (config.w_dim, config.c_dim)
        yield "mapping.embed.bias", (config.w_dim,)
        inputs += config.w_dim
    for layer in range(config.mapping_layers):
        yield f"mapping.fc{layer}.weight", (config.w_dim, config.w_dim if layer else inputs)
        yield f"mapping.fc{layer}.bias", (config.w_dim,)
    yield MEAN_STYLE, (config.w_dim,)


def _synthesis_shapes(config: GeneratorConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "synthesis.b4.const", (config.widths[0], 4, 4)
    inputs = 0
    for r, width in zip(config.resolutions, config.widths):
        yield from block_shapes(f"synthesis.b{r}", inputs, width, r, config)
        inputs = width


def block_shapes(
    block: str, inputs: int, width: int, pixels: int, config: GeneratorConfig
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The layers of one resolution; of 0 inputs there is no up-convolution."""
    if inputs:
        yield from _styled_conv_shapes(f"{block}.conv0", inputs, width, pixels, config.w_dim)
    yield from _styled_conv_shapes(f"{block}.conv1", width, width, pixels, config.w_dim)
    yield f"{block}.torgb.weight", (config.channels, width, 1, 1)
    yield f"{block}.torgb.bias", (config.channels,)
    yield from _affine_shapes(f"{block}.torgb", width, config.w_dim)


def _styled_conv_shapes(
    layer: str, inputs: int, outputs: int, pixels: int, w_dim: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}.weight", (outputs, inputs, 3, 3)
    yield f"{layer}.bias", (outputs,)
    yield f"{layer}.noise_strength", ()
    yield f"{layer}.noise_const", (pixels, pixels)
    yield from _affine_shapes(layer, inputs, w_dim)


def _affine_shapes(layer: str, inputs: int, w_dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}.affine.weight", (inputs, w_dim)
    yield f"{layer}.affine.bias", (inputs,)
