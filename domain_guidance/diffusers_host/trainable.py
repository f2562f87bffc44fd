"""A diffusers UNet as a `Trainable`, in its three forms: adapter, text-free, empty prompt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Size, sdxl_size_conditioning
from ..diffusion.noise_schedule import NoiseSchedule
from ..diffusion.parameterization import Prediction
from ..domains.adapter_file import write_adapter_file
from ..domains.domain_file import DomainCard, write_domain_file
from ..domains.fingerprint import fingerprint
from ..domains.prompt import Prompt
from ..domains.run_identity import prompt_identity
from ..domains.training_forms import ADAPTER, TrainingForm, card_form
from ..domains.unet_layouts import diffusers_to_host

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

PEFT_ADAPTER_NAME = "domain"  # in peft's parameter names, not in the file
# Everything that adapts to how a domain looks; the cross-attention (attn2) stays the base's (our choice).
ADAPTED = (
    r".*(attn1\.to_q|attn1\.to_k|attn1\.to_v|attn1\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|conv1|conv2)"
)


@dataclass
class DiffusersTrainable:
    """A `diffusers.UNet2DConditionModel` that is ready to be trained; the functions below make one.

    scaling, shift: the VAE's, of model latent = (latent - shift) scaling. notes: what the card says of the making.
    """

    module: UNet2DConditionModel
    schedule: NoiseSchedule
    prediction: Prediction
    empty: Prompt
    form: TrainingForm
    base_fingerprint: str
    base_name: str = ""
    scaling: float = 0.18215
    shift: float = 0.0
    rank: int = 0
    loss_weight: None = None  # the paper's plain error
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, Any]:
        own = {"form": self.form, "base": self.base_fingerprint, "rank": self.rank}
        return {**own, **prompt_identity(self.empty)}

    def predict(self, noisy: Tensor, timestep: Tensor, conditioning: Any) -> Tensor:
        prompt, added = conditioning
        return self.module(noisy, timestep, prompt, added_cond_kwargs=added, return_dict=False)[0]

    def conditioning(self, count: int, bucket: Size) -> tuple[Tensor, dict[str, Tensor] | None]:
        device = next(self.module.parameters()).device
        prompt = self.empty.cross_attn.to(device).expand(count, -1, -1)
        if self.empty.pooled_output is None:
            return prompt, None
        sizes = sdxl_size_conditioning(bucket).to(device).expand(count, -1)
        return prompt, {"text_embeds": self.empty.pooled_output.to(device).expand(count, -1), "time_ids": sizes}

    def latent_scale(self, latent: Tensor) -> Tensor:
        return (latent - self.shift) * self.scaling

    def write(self, path: str | os.PathLike, record: Mapping[str, Any]) -> None:
        card = DomainCard(
            form=card_form(self.form),
            prediction=self.prediction,
            base_fingerprint=self.base_fingerprint,
            base_name=self.base_name,
            training={**record, **self.notes, "form": self.form},
        )
        embedding = {"cross_attn": self.empty.cross_attn, "pooled_output": self.empty.pooled_output}
        if self.form == ADAPTER:
            write_adapter_file(path, self._adapter(), card=card, **embedding)
        else:
            weights = {
                name: tensor.half()
                for name, tensor in diffusers_to_host(self.module.state_dict(), self.module.config).items()
            }
            write_domain_file(path, weights, card=card, **embedding)

    def _adapter(self) -> dict[str, Tensor]:
        names = {
            f".lora_A.{PEFT_ADAPTER_NAME}.weight": ".lora_down.weight",
            f".lora_B.{PEFT_ADAPTER_NAME}.weight": ".lora_up.weight",
        }
        tensors = {}
        for name, parameter in self.module.named_parameters():
            for peft_name, our_name in names.items():
                if name.endswith(peft_name):
                    module = name.removesuffix(peft_name)
                    tensors[module + our_name] = parameter
                    tensors[f"{module}.alpha"] = torch.tensor(float(self.rank))  # peft's scale, alpha / rank, is 1
        return diffusers_to_host(tensors, self.module.config)


def base_fingerprint(unet: UNet2DConditionModel) -> str:
    """The fingerprint of an untouched diffusers UNet; take it before anything is added or trained."""
    return fingerprint(diffusers_to_host(unet.state_dict(), unet.config))


def check_peft() -> None:
    """Raises ValueError where peft, which adapters are trained with, is not installed."""
    if find_spec("peft") is None:
        raise ValueError(
            "The adapter form needs the package peft, which is not installed: install it, or train a full form."
        )


def add_adapter(unet: UNet2DConditionModel, rank: int, seed: int = 0) -> None:
    """Put peft's LoRA on everything but the cross-attention, ready to be trained; all else is frozen.

    Raises ValueError where peft is not installed.
    """
    check_peft()
    from peft import LoraConfig

    unet.requires_grad_(False)
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED), adapter_name=PEFT_ADAPTER_NAME)
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
