"""Reading a domain adapter onto a MODEL through the host's own LoRA loader."""

from __future__ import annotations

import logging
import os

import comfy.sd
from comfy.model_patcher import ModelPatcher
from safetensors import SafetensorError, safe_open

from ....domain_guidance.domains.adapter_file import AdapterFile, read_adapter_file
from ....domain_guidance.domains.card import CARD_KEY, DomainFileError
from ....domain_guidance.domains.prompt import Prompt
from ..node_text import tell_here
from .load_domain import path_inside
from .origin import ATTACHMENT, DomainOrigin, base_fingerprint, conditioning_of
from .side_network import CHAIN, check_no_side


def load_domain_adapter(model: ModelPatcher, folder: str, name: str, strength: float = 1.0) -> ModelPatcher:
    """`model` with the adapter `name` of a model folder on it, and the empty prompt it was trained with.

    Raises DomainFileError, one sentence, for a file that is no domain adapter or is one for another network.
    """
    return read_domain_adapter(model, path_inside(folder, name), name, strength)


def read_domain_adapter(
    model: ModelPatcher, path: str | os.PathLike, name: str | None = None, strength: float = 1.0
) -> ModelPatcher:
    """`model` with the adapter at `path` on it. name: what messages call it. Raises as `load_domain_adapter`."""
    path = os.fspath(path)
    name = name or os.path.basename(path)
    check_no_side(model, CHAIN)
    _check_card(path, name)
    file = read_adapter_file(path)
    _check_network(model, file, name)
    adapted, _ = comfy.sd.load_lora_for_models(model, None, file.tensors, strength, 0)
    _tell_of_sibling(model, file, name)
    prompt = Prompt(file.cross_attn, file.pooled_output, file.beside)
    adapted.set_attachments(ATTACHMENT, DomainOrigin(name, file.card, conditioning_of(file.card, prompt)))
    return adapted


def _check_card(path: str, name: str) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            plain = CARD_KEY not in (file.metadata() or {})
    except SafetensorError:
        return  # a damaged file, which its reader names
    if plain:
        raise DomainFileError(
            f"'{name}' is an ordinary LoRA without a stored empty prompt: load it with Load LoRA, connect that "
            "model to domain_model, and connect a CLIP Text Encode with no text to domain_conditioning of Apply "
            "Domain Guidance."
        )


def _tell_of_sibling(model: ModelPatcher, file: AdapterFile, name: str) -> None:
    """Trained on the raw model, used on its turbo: what most people do, and nothing to be warned of."""
    own = base_fingerprint(model)
    if own and file.card.base_fingerprint and own != file.card.base_fingerprint:
        tell_here(
            "'%s' was trained on %s and is used here on another checkpoint of the same family, which is fine for a "
            "LoRA; on a distilled one (Turbo, Lightning) use cfg 1 with reference 'prompt', and begin at weight 1.",
            name,
            file.card.base_name or "another model",
            level=logging.INFO,
        )


def _check_network(model: ModelPatcher, file: AdapterFile, name: str) -> None:
    weights = model.model.state_dict()
    for up_name in (key for key in file.tensors if key.endswith(".lora_up.weight")):
        module = up_name.removesuffix(".lora_up.weight")
        rows, columns = len(file.tensors[up_name]), file.tensors[f"{module}.lora_down.weight"][0].numel()
        weight = weights.get(f"{module}.weight")
        # What is packed (GGUF) has a size of its own.
        if weight is None or (weight.is_floating_point() and weight.numel() != rows * columns):
            raise DomainFileError(
                f"'{name}' changes {module}, which the connected model does not have, or has in another shape, "
                f"because the adapter was trained from {file.card.base_name or 'another model family'}: connect a "
                "model of that family."
            )
