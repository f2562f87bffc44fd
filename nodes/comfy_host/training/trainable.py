"""A MODEL as the library's `Trainable`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.samplers
import torch
from comfy.model_base import BaseModel
from comfy.sampler_helpers import convert_cond
from torch import Tensor, nn

from ....domain_guidance.data import Size
from ....domain_guidance.diffusion.noise_schedule import NoiseSchedule
from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.training.loss import Weight
from ..domains.prediction import HostSampling, prediction_of, training_levels
from .frames import as_network_sees, as_pictures
from .result_file import ResultFile


class HostTrainable:
    """The network of a BaseModel, called as the host calls it, but for one constant prompt and with a gradient.

    sampling: the MODEL's, ModelSampling nodes included. module, identity: as in `Trainable`. empty: the prompt as host
    conditioning. cell: pixels a latent cell. result: makes the finished file from what the module holds.
    """

    loss_weight: Weight | None = None  # the paper's plain error

    def __init__(
        self,
        model: BaseModel,
        sampling: HostSampling,
        module: nn.Module,
        empty: list,
        cell: int,
        identity: Mapping[str, Any],
        result: ResultFile,
    ):
        self.prediction: Prediction = prediction_of(sampling)
        self.schedule = NoiseSchedule(training_levels(sampling))
        self.module, self.identity, self.result = module, identity, result
        self._model, self._sampling, self._empty, self._cell = model, sampling, empty, cell
        self._encoded: dict[Size, dict[str, Any]] = {}

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: dict[str, Any]) -> Tensor:
        # Here and not once a step: a Cancel then never waits for an evaluation, or for the rest of a long step.
        comfy.model_management.throw_exception_if_processing_interrupted()
        noisy, rest = as_network_sees(noisy, self.latent_format), dict(conditioning)
        context, beside = rest.pop("c_crossattn", None), rest.pop("c_concat", None)
        levels = self._sampling.sigmas.to(noisy)
        time = self._sampling.timestep(levels[timestep.to(levels.device)]).float()
        time = self._model.process_timestep(time, x=noisy, **rest)
        whole = noisy if beside is None else torch.cat([noisy, beside], dim=1)
        options = {"optimized_attention_override": _differentiable_attention}
        output = self._model.diffusion_model(
            whole, time, context=context, control=None, transformer_options=options, **rest
        )
        return as_pictures(output)

    @torch.no_grad()
    def conditioning(self, count: int, bucket: Size) -> dict[str, Any]:
        if bucket not in self._encoded:
            self._encoded[bucket] = self._encode(bucket)
        sized = {
            name: cond.process_cond(batch_size=count, area=None).cond for name, cond in self._encoded[bucket].items()
        }
        return {name: _on(value, self.device) for name, value in sized.items()}

    @property
    def latent_format(self):
        return self._model.latent_format

    @property
    def notes(self) -> dict[str, Any]:
        """What the card says of the making, beside the run's own record."""
        return self.result.notes

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        self.result.write(path, record)

    def latent_scale(self, latent: Tensor) -> Tensor:
        return as_pictures(self._model.process_latent_in(as_network_sees(latent, self.latent_format)))

    def latent_shape(self, bucket: Size) -> tuple[int, int, int]:
        """(C, h, w) of one latent of a picture of this size."""
        return self.latent_format.latent_channels, bucket.height // self._cell, bucket.width // self._cell

    def _encode(self, bucket: Size) -> dict[str, Any]:
        """The host's own inputs for the prompt; SDXL's sizes are the bucket's, its crop 0."""
        noise = as_network_sees(torch.zeros(1, *self.latent_shape(bucket), device=self.device), self.latent_format)
        entries = [{**entry, "width": bucket.width, "height": bucket.height} for entry in convert_cond(self._empty)]
        encoded = comfy.samplers.encode_model_conds(
            self._model.extra_conds,
            entries,
            noise,
            self.device,
            "negative",
            latent_image=noise,
            denoise_mask=None,
            seed=0,
        )
        return encoded[0]["model_conds"]


def _differentiable_attention(_, *args, **kwargs) -> Tensor:
    # Sage and flash have no backward; split attention cuts by free memory, so that a checkpoint's second pass differs.
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


def _on(value, device: torch.device):
    if isinstance(value, list):
        return [_on(item, device) for item in value]
    if not isinstance(value, Tensor):
        return value
    return value.to(device, torch.float32 if value.is_floating_point() else value.dtype)
