"""Training a side network: the frozen base is asked without a graph, and no gradient ever passes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..data import Size
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction, denoised
from .correction import corrected, loss_weight, output_of
from .network import SideNetwork, SideShape


class FrozenBase(Protocol):
    """What a side network needs of the base: a `training.Trainable` that is called but not trained."""

    @property
    def prediction(self) -> Prediction: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def module(self) -> nn.Module: ...

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor: ...

    def conditioning(self, count: int, bucket: Size) -> Any: ...

    def latent_scale(self, latent: Tensor) -> Tensor: ...


class BareBase:
    """A network with its schedule as a FrozenBase; the data bring the empty prompt, and latents are as the network
    reads them.

    predict: called as (scaled noisy latent [B, C, H, W], timestep [B], prompt [B, T, D]).
    """

    def __init__(
        self,
        module: nn.Module,
        predict: Callable[[Tensor, Tensor, Tensor], Tensor],
        schedule: NoiseSchedule,
        prediction: Prediction,
    ):
        self.module, self.schedule = module, schedule
        self.prediction: Prediction = prediction
        self._predict = predict

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: Tensor) -> Tensor:
        return self._predict(noisy, timestep, conditioning)

    def conditioning(self, count: int, bucket: Size) -> None:
        return None

    def latent_scale(self, latent: Tensor) -> Tensor:
        return latent


def make_network(shape: SideShape, seed: int) -> SideNetwork:
    """A fresh network; a seed means the same on every device, and draws from no generator of others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SideNetwork(shape)


def unscaled(noisy: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The noisy latent x of a network's scaled input: the inverse of `parameterization.network_input`."""
    if prediction == "flow":
        return noisy
    return noisy * (sigma.to(noisy).view(-1, *[1] * (noisy.ndim - 1)) ** 2 + 1) ** 0.5


class BesideBase(nn.Module):
    """The network that is trained and the base that is not, which counts in the memory estimate."""

    def __init__(self, network: SideNetwork, base: nn.Module):
        super().__init__()
        self.network, self.base = network, base.requires_grad_(False)


class SideTrainable:
    """A side network beside a frozen base, as a `training.Trainable`.

    base: in any precision; it is asked on the constant empty prompt. save: writes the finished file of the network
    that it is given, (path, network, record).
    """

    def __init__(
        self,
        base: FrozenBase,
        network: SideNetwork,
        identity: Mapping[str, Any],
        save: Callable[[str | os.PathLike, SideNetwork, Mapping[str, Any]], None],
    ):
        self.prediction: Prediction = base.prediction
        self.schedule, self.identity = base.schedule, identity
        self.module, self.network = BesideBase(network, base.module), network
        self.loss_weight = loss_weight(base.prediction)
        self._base, self._save = base, save

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor:
        sigma = self.schedule.sigma(timestep)
        x = unscaled(noisy, sigma, self.prediction)
        with torch.no_grad():
            output = self._base.predict(noisy, timestep, conditioning)
            reference = denoised(output.to(x), x, sigma, self.prediction)
        domain = corrected(self.network, x, sigma, reference, self.prediction)
        return output_of(domain, x, sigma, self.prediction)

    def conditioning(self, count: int, bucket: Size) -> Any:
        return self._base.conditioning(count, bucket)

    def latent_scale(self, latent: Tensor) -> Tensor:
        return self._base.latent_scale(latent)

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        self._save(path, self.network, record)
