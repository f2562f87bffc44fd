"""The StyleGAN2 generator (arXiv 1912.04958, skip architecture) in plain PyTorch: no compiler, no extension.

Tensors are named as in the published NVIDIA files (`layout.py`), so a state dict is the file's content.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fir import double
from .layout import GeneratorConfig
from .modulation import modulated_conv, to_rgb
from .styles import per_layer, truncate

Noise = Literal["const", "random", "none"]
SLOPE, GAIN = 0.2, sqrt(2)  # of every leaky ReLU: the gain keeps the variance


class Dense(nn.Module):
    """A fully connected layer whose weights are stored at variance 1 and scaled in use.

    arXiv 1710.10196, section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, learning_rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / learning_rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain, self.learning_rate = learning_rate / sqrt(inputs), learning_rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.gain, self.weight, self.bias * self.learning_rate)


class Mapping(nn.Module):
    """Latents to styles. `w_avg` [w_dim] is the mean style, towards which truncation moves."""

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.layers = config.mapping_layers
        self.embed = Dense(config.c_dim, config.w_dim) if config.c_dim else None
        inputs = config.z_dim + (config.w_dim if config.c_dim else 0)
        for layer in range(self.layers):
            self.add_module(f"fc{layer}", Dense(config.w_dim if layer else inputs, config.w_dim, learning_rate=0.01))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [N, z_dim], labels [N, c_dim] (one-hot; zeros where none are given) to w [N, w_dim]."""
        x = _unit_rms(z)
        if self.embed is not None:
            labels = z.new_zeros(len(z), self.embed.weight.shape[1]) if labels is None else labels.to(z)
            x = torch.cat((x, _unit_rms(self.embed(labels))), dim=1)
        for layer in range(self.layers):
            x = F.leaky_relu(self.get_submodule(f"fc{layer}")(x), SLOPE) * GAIN
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU; `up` doubles the size first."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, pixels: int, config: GeneratorConfig, *, up: bool = False):
        super().__init__()
        self.affine = Dense(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(pixels, pixels))
        self.up, self.clamp = up, config.conv_clamp

    def forward(self, x: Tensor, w: Tensor, noise: Noise, generator: torch.Generator | None) -> Tensor:
        # A leaky ReLU lets a positive factor through, so its gain is taken before it, where it costs no pass over the
        # maps.
        y = modulated_conv(x, self.weight, self.affine(w), gain=GAIN, up=self.up)
        y = y.add_((GAIN * self.bias).to(y.dtype)[:, None, None])
        if noise != "none":
            y = y.add_((GAIN * self.noise_strength * self._noise(len(y), noise, generator)).to(y.dtype))
        return _clamped(F.leaky_relu_(y, SLOPE), self.clamp)

    def _noise(self, count: int, noise: Noise, generator: torch.Generator | None) -> Tensor:
        if noise == "const":
            return self.noise_const
        device = self.noise_const.device if generator is None else generator.device
        return torch.randn(count, 1, *self.noise_const.shape, generator=generator, device=device).to(self.noise_const)


class ToRGB(nn.Module):
    """What a block adds to the image: a modulated 1x1 convolution."""

    def __init__(self, inputs: int, config: GeneratorConfig):
        super().__init__()
        self.affine = Dense(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.channels))
        self.clamp = config.conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return _clamped(to_rgb(x, self.weight, self.affine(w), self.bias), self.clamp)


class Block(nn.Module):
    """The layers of one resolution. The first one has the learnt constant in place of an up-convolution.

    up: whether it doubles the size of maps and image.
    """

    def __init__(self, inputs: int, width: int, pixels: int, config: GeneratorConfig, *, up: bool = True):
        super().__init__()
        self.up = up
        if pixels == 4:
            self.const, self.conv0 = nn.Parameter(torch.randn(width, 4, 4)), None
        else:
            self.conv0 = StyledConv(inputs, width, pixels, config, up=up)
        self.conv1 = StyledConv(width, width, pixels, config)
        self.torgb = ToRGB(width, config)

    def forward(
        self, x: Tensor, image: Tensor | None, ws: Tensor, noise: Noise, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Maps and image of half the size, or of this block's if it does not double, to those of this block's.

        ws: [N, 3, w_dim], a style for each layer in turn; the first block reads the last two.
        """
        if self.conv0 is not None:
            x = self.conv0(x, ws[:, 0], noise, generator)
        x = self.conv1(x, ws[:, -2], noise, generator)
        rgb = self.torgb(x, ws[:, -1]).to(ws.dtype)
        if image is not None:
            rgb = (double(image) if self.up else image) + rgb
        return x, rgb


class Synthesis(nn.Module):
    """Styles to images. Block b{r} works at r pixels; of `ws` it reads what `selection.driven_layers` says."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        inputs = 0
        for pixels, width in zip(config.resolutions, config.widths):
            self.add_module(f"b{pixels}", Block(inputs, width, pixels, config))
            inputs = width

    def forward(
        self,
        ws: Tensor,
        *,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw images [N, channels, R, R], nominally in [-1, 1] and not clamped.

        ws: [N, L, w_dim], or one style for all layers, [N, w_dim]. noise: the file's constant maps, fresh ones drawn
        from `generator`, or none. dtype: of the feature maps, the parameters' by default; float16 and bfloat16 are kept
        from overflowing. Styles, demodulation and image keep the parameters' precision. Raises ValueError for styles of
        another generator.
        """
        ws = per_layer(ws, self.config.style_count)
        if ws.shape[1:] != (self.config.style_count, self.config.w_dim):
            raise ValueError(
                f"The styles are of shape {list(ws.shape)}, expected [N, {self.config.style_count}, "
                f"{self.config.w_dim}]: give those of this generator."
            )
        first = self.get_submodule("b4")
        assert isinstance(first, Block)
        const = first.const  # whatever stands there: `torch.func.functional_call` puts plain tensors in its place
        x = const.to(dtype or const.dtype).expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for level, pixels in enumerate(self.config.resolutions):
            styles = ws[:, max(0, 2 * level - 1) : 2 * level + 2]
            x, image = self.get_submodule(f"b{pixels}")(x, image, styles, noise, generator)
        assert image is not None  # every config has a block of 4 px
        return image


class Generator(nn.Module):
    """Latents to images: `mapping`, truncation, `synthesis`. The two halves are callable on their own."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)

    def styles(self, z: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Truncated styles [N, L, w_dim] of latents z [N, z_dim]; see `styles.truncate` and `Mapping`."""
        ws = per_layer(self.mapping(z, labels), self.config.style_count)
        return truncate(ws, self.mapping.w_avg, psi, cutoff)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Images [N, 3, R, R] of latents z [N, z_dim]; see `styles` and `Synthesis`."""
        return self.synthesis(
            self.styles(z, labels, psi=psi, cutoff=cutoff), noise=noise, generator=generator, dtype=dtype
        )


def _unit_rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def _clamped(x: Tensor, bound: float | None) -> Tensor:
    return x if bound is None else x.clamp(-bound, bound)
