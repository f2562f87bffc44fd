"""What a training's prompt and noise levels are, in a few numbers that tell whether a run goes on with the same.

Not a digest: another device or precision rounds otherwise, and such a run must go on. `runs.same_run` compares them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.noise_schedule import NoiseSchedule
from .prompt import Prompt, prompt_tensors

NUMBERS = 256  # of a tensor, evenly spaced (our choice)
LEAST_LEVEL = 1e-6


def prompt_identity(prompt: Prompt) -> dict[str, list[float]]:
    tensors = prompt_tensors(prompt)
    # Few dimensions of an encoder are thousands of times larger than the others, which must count beside them.
    return {"the empty prompt": [number for name in sorted(tensors) for number in _some(tensors[name].float().asinh())]}


def levels_identity(schedule: NoiseSchedule) -> dict[str, list[float]]:
    return {"the noise levels of the model": _some(schedule.sigmas.float().clamp(min=LEAST_LEVEL).log10())}


def _some(values: Tensor) -> list[float]:
    flat = values.detach().flatten()
    # An odd step does not meet the same few dimensions in every token.
    some = flat[:: -(-flat.numel() // NUMBERS) | 1].to("cpu", torch.float32)
    return [float(f"{value:.6g}") for value in some.tolist()]
