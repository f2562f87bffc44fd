"""The form `side network`: the user's MODEL answers as it does in a sampler, and only a small network beside it learns.

The MODEL is neither copied nor changed, and no graph reaches it: quantised, off-loaded and patched ones serve as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.data import CachedLatents, Size
from ....domain_guidance.domains.prompt import Prompt
from ....domain_guidance.domains.training_forms import SIDE_NETWORK
from ....domain_guidance.side_networks import (
    LatentSpace,
    SideNetwork,
    corrected,
    loss_weight,
    make_network,
    shape_for,
    shape_identity,
    write_side_file,
)
from ....domain_guidance.side_networks.correction import output_of
from ....domain_guidance.side_networks.trainable import unscaled
from ..domains.empty_prompt import stored_prompt
from ..domains.origin import base_fingerprint, host_prefix
from ..domains.prediction import as_the_host_counts, edm_levels, has_zero_terminal_snr, prediction_of
from ..domains.side_network import latent_space
from ..out_of_memory import out_of_memory
from .frames import as_network_sees, as_pictures
from .identity import run_identity
from .probe import HOST_ERRORS, refusal
from .result_file import ResultFile
from .trainable import HostTrainable


class HostSideTrainable(HostTrainable):
    """A side network beside a loaded MODEL."""

    def __init__(self, model: ModelPatcher, network: SideNetwork, empty: list, cell: int, result: ResultFile):
        options = model.model_options["transformer_options"]
        identity = run_identity(model, empty, SIDE_NETWORK, result.base_fingerprint, asked_with=options)
        identity |= shape_identity(network.shape)
        sampling = model.get_model_object("model_sampling")
        super().__init__(model.model, sampling, network, empty, cell, identity, result)
        self.network, self.loss_weight = network, loss_weight(self.prediction)
        self._options = comfy.model_patcher.create_model_options_clone(model.model_options)["transformer_options"]

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: dict[str, Any]) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        sigma = self.schedule.sigma(timestep).to(noisy)
        x = unscaled(noisy, sigma, self.prediction)
        domain = corrected(self.network, x, sigma, self._answer(x, sigma, conditioning), self.prediction)
        return output_of(domain, x, sigma, self.prediction)

    def _answer(self, x: Tensor, sigma: Tensor, conditioning: dict[str, Any]) -> Tensor:
        """What the MODEL says, in its own precision and as in a sampler."""
        x, sigma = as_the_host_counts(self._sampling, x, sigma)
        x, options = as_network_sees(x, self.latent_format), {**self._options, "cond_or_uncond": [1], "sigmas": sigma}
        with torch.inference_mode(), torch.autocast(x.device.type, enabled=False):
            answer = as_pictures(self._model.apply_model(x, sigma, transformer_options=options, **conditioning))
        return answer.clone()  # outside of inference mode, so that it may be part of a graph


@dataclass
class SideResultFile(ResultFile):
    """network: what is written. latents: those that it reads."""

    network: SideNetwork = field(kw_only=True)
    latents: LatentSpace = field(kw_only=True)

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        empty, card = Prompt(**stored_prompt(self.empty)), self._card(record)
        write_side_file(path, self.network, card=card, latents=self.latents, empty=empty, covers=self.covers)


def check_answers(model: ModelPatcher, empty: list, cell: int, size: Size) -> None:
    """Let the MODEL answer to a blank image of this size in pixels, before any image is encoded.

    Raises ValueError, one sentence, where it cannot be asked with a prompt alone.
    """
    model = model.clone()
    trainable = _trainable(model, empty, cell, size, "", 0)
    _load([model], (1, *trainable.latent_shape(size)))
    model.pre_run()
    try:
        noisy = torch.zeros(1, *trainable.latent_shape(size), device=trainable.device)
        timestep = torch.tensor([len(trainable.schedule.sigmas) // 2], device=trainable.device)
        trainable.predict(noisy, timestep, trainable.conditioning(1, size))
    except HOST_ERRORS as error:
        if comfy.model_management.is_oom(error):
            raise
        raise refusal(error) from error
    finally:
        model.cleanup()


@contextmanager
def made_side_trainable(
    model: ModelPatcher,
    vae: ModelPatcher,
    empty: list,
    latents: CachedLatents,
    cell: int,
    *,
    name: str,
    seed: int,
    batch_size: int,
) -> Iterator[HostSideTrainable]:
    """A fresh side network on the device, beside the MODEL, until the block ends. Call it outside inference mode.

    vae: loaded as well, for preview pictures. name: of the MODEL's file, for the card.
    """
    bucket, model = latents.commonest_bucket, model.clone()
    trainable = _trainable(model, empty, cell, bucket, name, seed)
    with ExitStack() as stack:
        _load([model, vae], (batch_size, *trainable.latent_shape(bucket)))
        model.pre_run()
        stack.callback(model.cleanup)
        yield trainable


def _trainable(model: ModelPatcher, empty: list, cell: int, size: Size, name: str, seed: int) -> HostSideTrainable:
    shape = shape_for(model.model.latent_format.latent_channels, size.height // cell, size.width // cell)
    network = make_network(shape, seed).to(model.load_device)
    sampling = model.get_model_object("model_sampling")
    result = SideResultFile(
        form=SIDE_NETWORK,
        prediction=prediction_of(sampling),
        base_fingerprint=base_fingerprint(model),
        base_name=name,
        key_prefix=host_prefix(model),
        empty=empty,
        weights=network.state_dict,
        zero_terminal_snr=has_zero_terminal_snr(sampling),
        edm_levels=edm_levels(sampling),
        network=network,
        latents=latent_space(model.model),
    )
    return HostSideTrainable(model, network, empty, cell, result)


def _load(models: list[ModelPatcher], shape: tuple[int, ...]) -> None:
    """The MODEL and what else is needed, as a sampler loads them. Raises ValueError where they do not fit."""
    with (
        torch.inference_mode(),
        out_of_memory(
            lambda: (
                "The model and its VAE do not fit on the device, even in part: close what else uses it, or lower "
                "batch_size."
            )
        ),
    ):
        comfy.model_management.load_models_gpu(models, memory_required=models[0].model.memory_required(shape))
