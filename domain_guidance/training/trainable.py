"""What a host has to offer so that its model can be trained: ComfyUI and diffusers each have one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from ..data import Size
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction
from .loss import Weight


class Trainable(Protocol):
    """A network that `domain_run.train_domain` trains, and all that the run must know of it.

    prediction: what the network puts out. schedule: its noise levels; training draws their indices uniformly.
    module: its parameters that require a gradient are trained, in fp32 (adapters, or the whole network). Frozen
    parameters may be in it too, in any type; what is in it counts in the memory estimate. Its device is the run's.
    loss_weight: of the error of what the network puts out, at noise levels [B], where the form has its own; None is the
    plain error.
    identity: plain JSON values that a resumed run must share: form, base fingerprint, rank and the like. A user reads
    the names when one differs.
    """

    @property
    def prediction(self) -> Prediction: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def module(self) -> nn.Module: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    @property
    def loss_weight(self) -> Weight | None: ...

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor:
        """The raw network output [B, C, h, w], with gradient.

        noisy: [B, C, h, w], scaled as the network expects it (`diffusion.parameterization.network_input`). timestep:
        [B], whole indices into the schedule.
        """
        ...

    def conditioning(self, count: int, bucket: Size) -> Any:
        """The constant empty prompt for `count` images of this size in pixels, with all else the network reads."""
        ...

    def latent_scale(self, latent: Tensor) -> Tensor:
        """A latent in the VAE's own scale, [B, C, h, w], in the scale the network was made for."""
        ...

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        """Write the finished file, atomically, from the weights that the module holds now.

        record: the training record for the file's card, plain JSON values. Raises OSError if the disk does not take it.
        """
        ...
