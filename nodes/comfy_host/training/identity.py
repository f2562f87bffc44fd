"""What a training of a MODEL must share with the saved run that it goes on with."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

from ....domain_guidance.domains.prompt import Prompt
from ....domain_guidance.domains.run_identity import prompt_identity
from ..domains.empty_prompt import guidance_of, stored_prompt
from ..guidance.digest import digest

# The noise levels are compared by themselves, and a compiled network computes the same.
NOT_PATCHES = ("model_sampling", "diffusion_model")


def run_identity(
    model: ModelPatcher, empty: list, form: str, base: str, rank: int = 0, asked_with: Any = None
) -> dict[str, Any]:
    """Plain JSON values; a user reads the names when one differs.

    base: the fingerprint. asked_with: the transformer options of a form that asks the MODEL as a sampler does; the
    others train its weights, which only what is on those concerns.
    """
    guidance = guidance_of(empty)
    patches = {name: patch for name, patch in model.object_patches.items() if name not in NOT_PATCHES}
    return {
        "form": form,
        "base": base,
        "rank": rank,
        **prompt_identity(Prompt(**stored_prompt(empty))),
        **({} if guidance is None else {"the distilled guidance": guidance}),
        "the LoRAs and patches on the model": digest(
            (model.patches, model.weight_wrapper_patches, patches, asked_with)
        ),
    }
