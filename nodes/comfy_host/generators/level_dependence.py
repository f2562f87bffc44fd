"""Whether a batch may hold several noise levels.

The host takes the first level for the whole batch wherever something begins or ends.
"""

from __future__ import annotations

from typing import Any

import comfy.samplers

from ..guidance.terms import KEY, GuidanceTerm, terms_of

TIMED = ("timestep_start", "timestep_end", "control", "hooks")  # of a prompt
# What the host itself writes into a run's options.
OWN_OPTIONS = {"transformer_options", "to_load_options", "registered_hooks", "disable_cfg1_optimization"}
PATCHES = ("patches", "patches_replace", "optimized_attention_override")


def depends_on_level(guider: comfy.samplers.CFGGuider) -> bool:
    """Whether anything but the network may read the level. Of other nodes' patches nobody can know, so they count."""
    prompts = [entry for entries in guider.conds.values() for entry in entries]
    timed = any(key in entry for entry in prompts for key in TIMED)
    return timed or _is_patched(guider.model_options) or not all(map(_is_constant, terms_of(guider.model_patcher)))


def _is_patched(options: dict[str, Any]) -> bool:
    inner = options["transformer_options"]
    hung = [
        name
        for kind in ("wrappers", "callbacks")
        for names in inner.get(kind, {}).values()
        for name, entries in names.items()
        if entries
    ]
    return bool(options.keys() - OWN_OPTIONS or any(inner.get(kind) for kind in PATCHES) or set(hung) - {KEY})


def _is_constant(term: GuidanceTerm) -> bool:
    return term.start_percent <= 0 and term.end_percent >= 1 and term.schedule is None
