"""What a training leaves behind: a domain file or an adapter, in the names that the host's own loaders read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import comfy.supported_models_base
import torch
from torch import Tensor

from ....domain_guidance.diffusion.parameterization import Prediction
from ....domain_guidance.domains.adapter_file import write_adapter_file
from ....domain_guidance.domains.card import DomainCard
from ....domain_guidance.domains.domain_file import read_card, read_covers, write_domain_file
from ....domain_guidance.domains.training_forms import ADAPTER, card_form
from ..domains.empty_prompt import guidance_of, stored_prompt

PICTURES_STEP = "pictures_of_step"  # in the card: the step after which the preview pictures were drawn


@dataclass
class ResultFile:
    """What is written at the end of a training and at each of its checkpoints.

    weights: the trained tensors as the file names them, now. covers: the newest preview pictures, as JPEG files.
    """

    form: str
    prediction: Prediction
    base_fingerprint: str
    base_name: str
    key_prefix: str
    empty: list
    weights: Callable[[], Mapping[str, Tensor]]
    zero_terminal_snr: bool = False
    edm_levels: tuple[float, float] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    covers: tuple[bytes, ...] = ()

    def keep_pictures(self, path: str | os.PathLike) -> None:
        """Take over the pictures of an earlier file of this run, until newer ones are drawn. Raises DomainFileError."""
        self.covers = read_covers(path)
        if self.covers:
            self.notes[PICTURES_STEP] = read_card(path).training.get(PICTURES_STEP)

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        """Atomic. Raises OSError if the disk does not take it."""
        save = write_adapter_file if self.form == ADAPTER else write_domain_file
        save(path, self.weights(), card=self._card(record), covers=self.covers, **stored_prompt(self.empty))

    def _card(self, record: Mapping[str, Any]) -> DomainCard:
        return DomainCard(
            form=card_form(self.form),
            prediction=self.prediction,
            base_fingerprint=self.base_fingerprint,
            base_name=self.base_name,
            zero_terminal_snr=self.zero_terminal_snr,
            edm_levels=self.edm_levels,
            key_prefix=self.key_prefix,
            guidance=guidance_of(self.empty),
            training={**record, **self.notes, "form": self.form},
        )


def host_weights(
    state: Mapping[str, Tensor], config: comfy.supported_models_base.BASE, dtype: torch.dtype
) -> dict[str, Tensor]:
    """A network's state dict under the names of a file that the host's loaders read, in `dtype`."""
    # Copied to the CPU one by one: a second set of weights may not fit beside the first.
    cpu = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None) for name, tensor in state.items()
    }
    return config.process_unet_state_dict_for_saving(cpu)
