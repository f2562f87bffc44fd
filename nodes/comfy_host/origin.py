"""What a MODEL knows about the domain file it came from, and which base a MODEL is."""

from __future__ import annotations

from dataclasses import dataclass

from comfy.model_patcher import ModelPatcher

from ...domain_guidance.domain_file import DomainCard
from ...domain_guidance.fingerprint import chosen_names, fingerprint

ATTACHMENT = "domain_guidance.origin"
UNET = "diffusion_model."


@dataclass(frozen=True)
class DomainOrigin:
    """Travels with the MODEL of a domain file. empty: its stored empty prompt as host conditioning, [[cross_attn, {...}]]."""

    name: str
    card: DomainCard
    empty: list


def origin_of(model: ModelPatcher) -> DomainOrigin | None:
    return model.get_attachment(ATTACHMENT)


def base_fingerprint(model: ModelPatcher) -> str:
    """The fingerprint of a MODEL's own weights, without the LoRAs on it.

    A patched weight on the device is not the file's; the patcher's backup is.
    """
    shapes = model.model.diffusion_model.state_dict()
    weights = {name: _unpatched(model, name, shapes[name]) for name in chosen_names(shapes)}
    return fingerprint({**shapes, **weights})


def _unpatched(model: ModelPatcher, name: str, current):
    backup = model.backup.get(UNET + name)
    return current if backup is None else backup.weight
