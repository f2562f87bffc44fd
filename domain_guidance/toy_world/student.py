"""Distilling the base into a student that draws in 8 steps at cfg 1, like the fast models that people run.

One step of the student arrives where the base with classifier-free guidance does in several: distillation of guidance
(Meng et al. 2023, arXiv 2210.03142) and of steps (Salimans and Ho 2022, arXiv 2202.00512) at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.noise_schedule import NoiseSchedule
from ..runs import Objective
from ..training import Batch

STEPS, CFG = 8, 4.0  # of the student, and of the base that it learns from
SUBSTEPS = 2  # of the base for one of the student
RHO = 7.0  # of the noise levels, those of `sampling.karras_sigmas`


def level(place: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The noise level at each place [B] of a drawing of 8 steps: 0 is its start, 8 its end; whole places are Karras's
    levels.
    """
    high, low = (float(schedule.sigmas[end]) ** (1 / RHO) for end in (-1, 0))
    falling = (high + place / (STEPS - 1) * (low - high)).clamp(min=low) ** RHO
    return falling * (STEPS - place).clamp(0, 1)


def student_objective(
    teacher: Denoiser[Tensor],
    student: Denoiser[Tensor],
    data: Callable[[torch.Generator], Batch],
    empty: Tensor,
    schedule: NoiseSchedule,
    weight: Callable[[Tensor], Tensor],
) -> Objective:
    """The loss of a student against the guided teacher, for a training loop.

    data: clean pictures with their prompts. empty: the empty prompt, [1, T, D]. weight: of the noise loss at levels
    [B].
    """

    def objective(generator: torch.Generator) -> Tensor:
        batch = data(generator)
        clean, prompt = batch.clean, batch.conditioning
        place = torch.rand(len(clean), generator=generator) * (STEPS - 1)
        sigma, following = level(place, schedule), level(place + 1, schedule)
        x = clean + _as(sigma, clean) * torch.randn(clean.shape, generator=generator)
        with torch.no_grad():
            arrived = _taught(teacher, x, place, prompt, empty.expand(len(clean), -1, -1), schedule)
        direction = (arrived - x) / _as(following - sigma, x)  # that one Euler step would have to follow
        error = (student(x, sigma, prompt) - (x - _as(sigma, x) * direction)) / _as(sigma, x)
        return (weight(sigma) * error.square().mean(dim=(1, 2, 3))).mean()

    return objective


def _taught(
    teacher: Denoiser[Tensor], x: Tensor, place: Tensor, prompt: Tensor, empty: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Where the guided teacher gets from x within one step of the student, by Euler's method."""
    for part in range(SUBSTEPS):
        sigma, following = (level(place + (part + more) / SUBSTEPS, schedule) for more in (0, 1))
        asked, unasked = teacher(x.repeat(2, 1, 1, 1), sigma.repeat(2), torch.cat([prompt, empty])).chunk(2)
        guided = unasked + CFG * (asked - unasked)
        x = x + (x - guided) * _as((following - sigma) / sigma, x)
    return x


def _as(values: Tensor, pictures: Tensor) -> Tensor:
    return values.view(-1, *[1] * (pictures.ndim - 1))
