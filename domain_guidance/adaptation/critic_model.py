"""What a host has to offer so that its diffusion model can judge a generator: ComfyUI and diffusers each have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from ..distillation import Critic


class CriticModel(Critic, Protocol):
    """A critic of whole runs, which can be told from others."""

    @property
    def device(self) -> torch.device:
        """Where it computes, and the generator with it."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain JSON values that a resumed run must share: the model, prompts, guidance.

        A user reads the names when one differs, and the adapted generator's card says them.
        """
        ...
