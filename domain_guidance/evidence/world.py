"""The models that are compared, with everything that drawing and judging take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..diffusers_host.denoiser import DiffusersDenoiser
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction
from ..side_networks import SideNetwork
from ..toy_world.features import FeatureNet
from ..toy_world.prompts import encode_prompt


@dataclass(frozen=True)
class World:
    """A world to compare methods in: its denoisers by name (`base`, the forms of training, and `weak`).

    side: the side network, where one has been trained. table: the prompt table [26, 32]. steps: of one drawing.
    """

    models: Mapping[str, DiffusersDenoiser]
    side: SideNetwork | None
    table: Tensor
    judge: FeatureNet
    schedule: NoiseSchedule
    steps: int

    @property
    def prediction(self) -> Prediction:
        return "epsilon"

    @property
    def empty(self) -> Tensor:
        """The empty prompt, [1, T, 32]."""
        return encode_prompt(self.table)

    def seeing(self, added: dict[str, Any]) -> World:
        """The same world, all of whose networks get these further arguments."""
        return replace(self, models={name: replace(model, added=added) for name, model in self.models.items()})
