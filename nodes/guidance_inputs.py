"""The inputs that every guidance node has: where, when and how much a term acts."""

from __future__ import annotations

from comfy_api.latest import io

WeightSchedule = io.Custom("DOMAIN_GUIDANCE_SCHEDULE")


def shaping_inputs(term: str) -> list[io.Input]:
    """term: what the tooltips call it."""
    return [
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip=f"Share of the sampling (0 to 1) after which the {term} starts to act.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip=f"Share of the sampling (0 to 1) after which the {term} stops. Ending early keeps fine detail "
            "the base's.",
        ),
        io.Combo.Input(
            "control",
            options=["same", "none"],
            default="same",
            optional=True,
            advanced=True,
            tooltip=f"ControlNets of the sampler's prompts. same: both sides of the {term} see them. "
            "none: neither does, at the price of one more evaluation per step.",
        ),
        io.Float.Input(
            "projection",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip=f"Share kept of the part of the {term}'s pull that only scales the picture. 1 keeps all, 0 removes "
            "it; lower it against oversaturation.",
        ),
        io.Float.Input(
            "norm_cap",
            default=0.0,
            min=0.0,
            max=10000.0,
            step=0.5,
            round=0.001,
            optional=True,
            advanced=True,
            tooltip="Longest allowed pull per step, as a length in latent units; 0 is no limit. "
            "Against burning at high weights.",
        ),
        WeightSchedule.Input(
            "schedule",
            optional=True,
            tooltip="From Domain Guidance Schedule: the weight over the sampling, as a factor on weight. Without "
            "it the weight stays.",
        ),
    ]
