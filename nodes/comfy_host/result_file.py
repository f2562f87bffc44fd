"""What a training leaves behind: a domain file or an adapter, in the names that the host's own loaders read."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.supported_models_base
import torch
from safetensors import SafetensorError
from torch import Tensor

from ...domain_guidance.domain_file import DomainCard, write_domain_file
from ...domain_guidance.parameterization import Prediction
from ...domain_guidance.training.adapter_file import write_adapter_file
from ...domain_guidance.unet_layouts import HOST_PREFIX
from .empty_prompt import pooled_of

ADAPTER, TEXT_FREE, EMPTY_PROMPT = FORMS = ("adapter", "text-free", "empty-prompt")
# SDXL's loader tells velocity from noise prediction by this tensor alone.
VELOCITY_MARK = f"{HOST_PREFIX}v_pred"


@dataclass
class ResultFile:
    """weights: the trained tensors as the file names them, now. covers: the newest preview pictures, as JPEG files."""

    form: str
    prediction: Prediction
    base_fingerprint: str
    base_name: str
    empty: list
    weights: Callable[[], Mapping[str, Tensor]]
    notes: dict[str, Any] = field(default_factory=dict)
    covers: tuple[bytes, ...] = ()

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        """Atomic. Raises OSError if the disk does not take it."""
        save = write_adapter_file if self.form == ADAPTER else write_domain_file
        with disk_errors():
            save(path, self.weights(), card=self._card(record), cross_attn=self.empty[0][0], pooled_output=pooled_of(self.empty))

    def _card(self, record: Mapping[str, Any]) -> DomainCard:
        pictures = [base64.b64encode(cover).decode() for cover in self.covers]
        return DomainCard(
            form="text-free" if self.form == TEXT_FREE else "text-based",
            prediction=self.prediction,
            base_fingerprint=self.base_fingerprint,
            base_name=self.base_name,
            training={**record, **self.notes, "form": self.form, "pictures": pictures},
        )


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk is an OSError, also where safetensors gives it another name."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from error


def host_weights(
    state: Mapping[str, Tensor], config: comfy.supported_models_base.BASE, prediction: Prediction, dtype: torch.dtype
) -> dict[str, Tensor]:
    """A network's state dict under the names of a file that the host's loaders read, in `dtype`."""
    # Copied to the CPU one by one: a second set of weights may not fit beside the first.
    cpu = {name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None) for name, tensor in state.items()}
    return marked(config.process_unet_state_dict_for_saving(cpu), prediction)


def marked(weights: dict[str, Tensor], prediction: Prediction) -> dict[str, Tensor]:
    return {**weights, VELOCITY_MARK: torch.empty(0)} if prediction == "v_prediction" else weights
