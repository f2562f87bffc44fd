"""Turning a diffusers UNet into the domain that a trained file holds, whatever its form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..domains.adapter_file import merged, read_adapter_file
from ..domains.domain_file import DomainCard, read_card, read_domain_file
from ..domains.prompt import Prompt
from ..domains.training_forms import is_adapter
from ..domains.unet_layouts import diffusers_to_host, host_to_diffusers
from .fitting import check_network, check_prompt

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def load_trained(path: Path, unet: UNet2DConditionModel) -> tuple[DomainCard, Prompt]:
    """Give `unet`, a copy of the base, the domain's weights; the file's card and the empty prompt that goes with them.

    path: a domain file, or an adapter, which is merged. Raises DomainFileError for any other file, and for a domain of
    another network.
    """
    if is_adapter(read_card(path)):
        file = read_adapter_file(path)
        state = merged(diffusers_to_host(unet.state_dict(), unet.config), file.tensors)
    else:
        file = read_domain_file(path)
        state = file.weights
    pooled = file.pooled_output
    prompt = Prompt(file.cross_attn.float(), None if pooled is None else pooled.float())
    check_network(state, unet, path.name)
    check_prompt(prompt, unet, path.name)
    unet.load_state_dict(host_to_diffusers(state, unet.config))
    return file.card, prompt
