"""What a MODEL knows about the domain file it came from, and which base a MODEL is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....domain_guidance.domains.card import DomainCard, card_from
from ....domain_guidance.domains.fingerprint import chosen_names, fingerprint
from ....domain_guidance.domains.prompt import prompt_from

ATTACHMENT = "domain_guidance.origin"
LORA_METADATA = "lora_metadata"  # the host's name
ADAPTER_NAME = "the domain adapter"  # the host does not say which file a LoRA came from
UNET = "diffusion_model."


@dataclass(frozen=True)
class DomainOrigin:
    """What travels with the MODEL of a domain file.

    empty: its stored empty prompt as host conditioning, [[cross_attn, {...}]].
    """

    name: str
    card: DomainCard
    empty: list


def origin_of(model: ModelPatcher) -> DomainOrigin | None:
    """From Load Domain UNet, or from a domain adapter that the host's own LoRA loaders have put on the MODEL."""
    return model.get_attachment(ATTACHMENT) or _adapter_origin(model)


def conditioning_of(card: DomainCard, cross_attn: Tensor, pooled_output: Tensor | None) -> list:
    """What a domain's file stores of its empty prompt, as host conditioning."""
    beside = {"pooled_output": pooled_output, "guidance": card.guidance}
    return [[cross_attn, {name: value for name, value in beside.items() if value is not None}]]


def _adapter_origin(model: ModelPatcher) -> DomainOrigin | None:
    # The host keeps the metadata of the topmost LoRA. Those of a LoRA below are with the MODEL that it was put on.
    below = model
    while below is not None:
        metadata = below.get_attachment(LORA_METADATA)
        if prompt := prompt_from(metadata, ADAPTER_NAME):
            card = card_from(metadata, ADAPTER_NAME)
            return DomainOrigin(ADAPTER_NAME, _on_own_base(card, model), conditioning_of(card, *prompt))
        below = below.parent
    return None


def _on_own_base(card: DomainCard, model: ModelPatcher) -> DomainCard:
    """An adapter transfers: what it is compared with are the weights that it sits on, not those it was trained on."""
    own = base_fingerprint(model)
    return card if own == card.base_fingerprint else replace(card, base_fingerprint=own, base_name="")


def base_fingerprint(model: ModelPatcher) -> str:
    """The fingerprint of a MODEL's own weights, without the LoRAs on it.

    Empty where they cannot be read (GGUF keeps them packed). A patched weight on the device is not the file's; the
    patcher's backup is.
    """
    shapes = model.model.diffusion_model.state_dict()
    if any(shapes[name].is_meta for name in chosen_names(shapes)):
        return ""
    weights = {name: _unpatched(model, name, shapes[name]) for name in chosen_names(shapes)}
    return fingerprint({**shapes, **weights})


def _unpatched(model: ModelPatcher, name: str, current):
    backup = model.backup.get(UNET + name)
    return current if backup is None else backup.weight
