"""Which layers to train: those whose styles the critic would move most (arXiv 2212.04473, after 2108.00946)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..distillation import distill
from ..generators import Eg3dConfig, GeneratorConfig, default_selection
from ..runs import Process, step_generator
from .critic_model import CriticModel
from .pair import AdaptedPair
from .settings import AdaptationSettings

RATE = 0.01  # of the one SGD step
PICTURES = 8  # our choice


def trainable_styles(config: GeneratorConfig | Eg3dConfig) -> list[int]:
    """The styles that drive a layer of the default selection; the others are not to choose from."""
    return [style for style in range(config.style_count) if default_selection(config, [style])]


def choose_styles(pair: AdaptedPair, critic: CriticModel, settings: AdaptationSettings, process: Process) -> list[int]:
    """The `settings.layers` styles that one SGD step on the source's styles moves most, in rising order.

    Raises ValueError for too many.

    The paper takes fewer for longer runs: 12 for 1,201 iterations, 6 for 3,001, 3 for 5,001 and 1 for 10,001.
    """
    candidates = trainable_styles(pair.config)
    if settings.layers > len(candidates):
        raise ValueError(
            f"layers is {settings.layers}, but only {len(candidates)} of this generator's styles drive layers that "
            f"are trained: give at most {len(candidates)}."
        )
    moved = process.mean(style_movement(pair, critic, settings))
    return sorted(sorted(candidates, key=lambda style: -float(moved[style]))[: settings.layers])


def style_movement(pair: AdaptedPair, critic: CriticModel, settings: AdaptationSettings) -> Tensor:
    """Measure how far each style goes in one step along the distillation's gradient, without regularisers.

    [L], the mean over numbers and pictures. One picture at a time, so that the choice takes no more memory than a step
    and does not depend on the batch.
    """
    score = replace(settings.distillation, directional=0.0, reconstruction=0.0, relative_distance=0.0)
    generator, moved = step_generator(0, settings.seed), []
    for _ in range(PICTURES):
        drawn, *views = pair.draw_inputs(1, generator, settings.truncation)
        ws = drawn.clone().requires_grad_()
        images = pair.source.synthesis(ws, *views)
        surrogate, _ = distill(images, None, critic, score, generator)
        moved.append(RATE * torch.autograd.grad(surrogate, ws)[0].abs().mean((0, 2)))
    return torch.stack(moved).mean(0)
