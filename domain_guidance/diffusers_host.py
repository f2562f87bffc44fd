"""diffusers as a host of the `Denoiser` protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .noise_schedule import NoiseSchedule
from .parameterization import Prediction, denoised, network_input


@dataclass(frozen=True)
class DiffusersDenoiser:
    """A `diffusers.UNet2DConditionModel` as a `Denoiser`.

    unet: any module called as `unet(x, timestep, encoder_hidden_states, return_dict=False)`.
    schedule: its noise schedule. prediction: what it puts out.
    added: further keyword arguments of every call, such as SDXL's `added_cond_kwargs`.
    """

    unet: Any
    schedule: NoiseSchedule
    prediction: Prediction = "epsilon"
    added: dict[str, Any] | None = None

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: Tensor | None) -> Tensor:
        """x: [B, C, H, W]; sigma: [B]; conditioning: [1 or B, T, D]. Returns the denoised prediction, [B, C, H, W]."""
        context = None if conditioning is None else conditioning.expand(len(x), -1, -1).to(x)
        timestep = self.schedule.timestep(sigma)
        scaled = network_input(x, sigma, self.prediction)
        output = self.unet(scaled, timestep, context, return_dict=False, **(self.added or {}))[0]
        return denoised(output, x, sigma, self.prediction)
