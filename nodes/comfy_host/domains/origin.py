"""What a MODEL knows about the domain file it came from, and which base a MODEL is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from comfy.model_patcher import ModelPatcher

from ....domain_guidance.domains.card import DomainCard, card_from
from ....domain_guidance.domains.fingerprint import chosen_names, fingerprint
from ....domain_guidance.domains.prompt import Prompt, prompt_from

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


def conditioning_of(card: DomainCard, prompt: Prompt) -> list:
    """What a domain's file stores of its empty prompt, as host conditioning."""
    beside = {"pooled_output": prompt.pooled_output, "guidance": card.guidance}
    return [
        [prompt.cross_attn, {**prompt.beside, **{key: value for key, value in beside.items() if value is not None}}]
    ]


def host_prefix(model: ModelPatcher) -> str:
    """Under which the host's loaders look for the network's tensors in a file: it differs between families."""
    (name,) = model.model.model_config.process_unet_state_dict_for_saving({"": torch.empty(0)})
    return name


def _adapter_origin(model: ModelPatcher) -> DomainOrigin | None:
    # The host keeps the metadata of the topmost LoRA. Those of a LoRA below are with the MODEL that it was put on.
    below = model
    while below is not None:
        metadata = below.get_attachment(LORA_METADATA)
        if prompt := prompt_from(metadata, ADAPTER_NAME):
            card = card_from(metadata, ADAPTER_NAME)
            return DomainOrigin(ADAPTER_NAME, _on_own_base(card, model), conditioning_of(card, prompt))
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
