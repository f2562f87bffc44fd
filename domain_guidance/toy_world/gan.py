"""How the toy's StyleGAN2 learns.

There is a small discriminator, and the game of both networks is one objective of the training loop.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..generators import Generator, GeneratorConfig
from ..generators.stylegan2 import GAIN, SLOPE, Dense
from ..runs import Objective
from .model import CHANNELS, IMAGE_SIZE

GENERATOR_CONFIG = GeneratorConfig(resolution=IMAGE_SIZE, widths=(64, 64, 48), z_dim=64, w_dim=64, mapping_layers=4)
WIDTHS = (32, 64, 96)  # of the discriminator at 16, 8 and 4 px
GROUP = 8  # pictures whose spread the discriminator sees
GAMMA = 0.1  # weight of R1
LAZY = 8  # R1 in one step of so many, at so many times its weight (arXiv 1912.04958, section 3.1)


class Discriminator(nn.Module):
    """Pictures [N, 3, 16, 16] to one logit each, [N]: higher for real ones. N is a multiple of GROUP."""

    def __init__(self):
        super().__init__()
        self.from_rgb = EqualConv(CHANNELS, WIDTHS[0], 1)
        self.body = nn.Sequential(*(layer for pair in zip(WIDTHS, WIDTHS[1:]) for layer in _block(*pair)))
        self.last = EqualConv(WIDTHS[-1] + 1, WIDTHS[-1], 3)
        self.dense = Dense(WIDTHS[-1] * 4 * 4, WIDTHS[-1])
        self.logit = Dense(WIDTHS[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(_activated(self.from_rgb(images)))
        x = _activated(self.last(torch.cat([x, _spread(x)], dim=1)))
        return self.logit(_activated(self.dense(x.flatten(1)))).squeeze(1)


class EqualConv(nn.Module):
    """A convolution whose weights are stored at variance 1 and scaled in use, as the generator's are."""

    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1 / sqrt(inputs * size**2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.weight.shape[-1] // 2)


class Game(nn.Module):
    """Both networks, so that one optimiser, one average and one state file hold them."""

    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = Generator(GENERATOR_CONFIG), Discriminator()


def game_objective(game: Game, paint: Callable[[torch.Generator], Tensor]) -> Objective:
    """The non-saturating losses of both networks with lazy R1 (arXiv 1801.04406), in one sum.

    Each loss moves only its own network. paint: real pictures [N, 3, 16, 16]. Both learn from the same made pictures,
    in the same step.
    """

    def objective(generator: torch.Generator) -> Tensor:
        real = paint(generator)
        z = torch.randn(len(real), GENERATOR_CONFIG.z_dim, generator=generator)
        made = game.generator(z, noise="random", generator=generator)
        fixed = {name: parameter.detach() for name, parameter in game.discriminator.named_parameters()}
        fooling = F.softplus(-functional_call(game.discriminator, fixed, made)).mean()
        telling = F.softplus(game.discriminator(made.detach())).mean() + F.softplus(-game.discriminator(real)).mean()
        if torch.rand((), generator=generator) < 1 / LAZY:
            telling = telling + LAZY * GAMMA / 2 * _slope(game.discriminator, real)
        return fooling + telling

    return objective


def adam(parameters, settings) -> torch.optim.Optimizer:
    """StyleGAN2's: no first moment."""
    return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(0.0, 0.99), fused=True)


@torch.no_grad()
def set_mean_style(generator: Generator, count: int = 2**16) -> None:
    """The mean style, over `count` latents of a fixed seed."""
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    generator.mapping.w_avg.copy_(generator.mapping(z).mean(0))


def _slope(discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1: the mean over pictures of the logit's squared gradient."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def _spread(x: Tensor) -> Tensor:
    """The mean standard deviation of the features within groups of GROUP pictures, as one more channel [N, 1, H, W]."""
    groups = x.reshape(-1, GROUP, *x.shape[1:])
    spread = (groups.var(dim=1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat_interleave(GROUP)[:, None, None, None].expand(-1, 1, *x.shape[2:])


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [EqualConv(inputs, outputs, 3), _Activation(), nn.AvgPool2d(2)]


class _Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _activated(x)


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE) * GAIN
