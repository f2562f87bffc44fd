"""The inputs that Train Domain and Adapt Generator share: how long, how carefully, and under which name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

OWN = "own"


@dataclass(frozen=True)
class RunInputs:
    """work: what the tooltips call the run, a noun. result: where its file is saved."""

    work: str
    result: str

    def steps(self) -> io.Input:
        return io.Int.Input(
            "steps",
            default=1000,
            min=1,
            max=1_000_000,
            tooltip="Total number of optimiser steps, counted over all runs. Raise it to continue a finished "
            f"{self.work}.",
        )

    def seed(self) -> io.Input:
        return io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,
            advanced=True,
            tooltip=f"The same seed and settings give the same {self.work}.",
        )

    def save_name(self, default: str) -> io.Input:
        return io.String.Input(
            "save_name", default=default, tooltip=f"File name of the result{self.result}, without folders."
        )

    def on_existing(self) -> io.Input:
        article = "an" if self.work[0] in "aeiou" else "a"
        return io.Combo.Input(
            "on_existing",
            options=["resume", "new version"],
            default="resume",
            advanced=True,
            tooltip=f"What to do if {article} {self.work} with this name exists. resume: continue it. new version: "
            "start over and save as name-2.",
        )

    def accumulation(self) -> io.Input:
        return io.Int.Input(
            "accumulation",
            default=1,
            min=1,
            max=1024,
            optional=True,
            advanced=True,
            tooltip="Batches added up for each step: the effect of a larger batch without more memory, but in more "
            "time.",
        )

    def preview_every(self, default: int, shown: str) -> io.Input:
        return io.Int.Input(
            "preview_every",
            default=default,
            min=0,
            max=100_000,
            optional=True,
            advanced=True,
            tooltip=f"Steps between {shown}; 0 turns them off.",
        )

    def checkpoint_every(self) -> io.Input:
        return io.Int.Input(
            "checkpoint_every",
            default=250,
            min=0,
            max=100_000,
            optional=True,
            advanced=True,
            tooltip="Steps between saves of the training state, in case ComfyUI crashes; 0 turns them off. Cancel "
            "saves the state anyway.",
        )

    def preset(self, presets: Mapping[str, Mapping[str, int]], advice: str) -> io.Input:
        """It stands behind what saved workflows had before it, since they list their values in order."""
        numbers = " ".join(f"{name}: {in_words(values)}." for name, values in presets.items())
        return io.Combo.Input(
            "preset",
            options=[OWN, *presets],
            default=OWN,
            optional=True,
            # The frontend fills the fields that a preset sets: web/presets.js.
            extra_dict={"presets": {name: dict(values) for name, values in presets.items()}},
            tooltip=f"How long this {self.work} runs. own: as set on this node. {numbers} {advice}",
        )


def in_words(values: Mapping[str, int]) -> str:
    images = values["batch_size"] * values["accumulation"]
    measured = f", measured every {values['evaluate_every']}" if "evaluate_every" in values else ""
    return (
        f"{values['steps']:,} steps of {images} image{'s' * (images > 1)}{measured}, a preview every "
        f"{values['preview_every']}"
    )


def settled(
    preset: str, presets: Mapping[str, Mapping[str, int]], on_node: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """The numbers that count, and the sentence that says which did; an empty one for 'own'.

    on_node: of the inputs that a preset sets. defaults: of the same; a number that differs was entered by someone.
    """
    if preset == OWN:
        return dict(on_node), ""
    values = presets[preset]
    said = f"Preset '{preset}': {in_words(values)}."
    lost = [f"{name} {on_node[name]}" for name in values if on_node[name] not in (values[name], defaults[name])]
    if lost:
        said += f" It takes precedence over {_listed(lost)} on the node; choose 'own' to use your numbers."
    return dict(values), said


def defaults_of(node: type[io.ComfyNode], names: Mapping[str, Any]) -> dict[str, Any]:
    return {entry.id: entry.default for entry in node.define_schema().inputs if entry.id in names}


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
