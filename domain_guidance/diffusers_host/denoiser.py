"""diffusers as a host of the `Denoiser` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Size, sdxl_size_conditioning
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction, denoised, network_input
from ..domains.prompt import Prompt

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


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


@dataclass(frozen=True)
class PromptedUNet:
    """A `diffusers.UNet2DConditionModel` as a `Denoiser` whose conditioning is a `Prompt`.

    It computes in the UNet's own type. size: of the picture in pixels, which SDXL reads.
    """

    unet: UNet2DConditionModel
    schedule: NoiseSchedule
    prediction: Prediction
    size: Size

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: Prompt) -> Tensor:
        return self.several(x, sigma, [conditioning])[0]

    def several(self, x: Tensor, sigma: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, ...]:
        """The denoised prediction of every prompt, each [B, C, H, W], in one call of the UNet."""
        x, sigma = x.repeat(len(prompts), 1, 1, 1), sigma.repeat(len(prompts))
        each = len(x) // len(prompts)
        context = torch.cat([prompt.cross_attn.expand(each, -1, -1) for prompt in prompts])
        scaled = network_input(x, sigma, self.prediction).to(self.unet.dtype)
        output = self.unet(
            scaled,
            self.schedule.timestep(sigma),
            context.to(scaled),
            added_cond_kwargs=self._added(prompts, scaled),
            return_dict=False,
        )[0]
        return denoised(output.float(), x, sigma, self.prediction).chunk(len(prompts))

    def _added(self, prompts: Sequence[Prompt], like: Tensor) -> dict[str, Tensor] | None:
        vectors = [prompt.pooled_output for prompt in prompts if prompt.pooled_output is not None]
        if not vectors:
            return None
        pooled = torch.cat([vector.expand(len(like) // len(prompts), -1) for vector in vectors])
        return {
            "text_embeds": pooled.to(like),
            "time_ids": sdxl_size_conditioning(self.size).to(like).expand(len(like), -1),
        }
