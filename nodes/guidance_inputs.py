"""The inputs that every guidance node has: where, when and how much a term acts."""

from __future__ import annotations

from comfy_api.latest import io

WeightSchedule = io.Custom("DOMAIN_GUIDANCE_SCHEDULE")


def shaping_inputs(term: str) -> list[io.Input]:
    """The optional inputs of a guidance node, in the order in which saved workflows have them.

    term: what the tooltips call what the node adds.
    """
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
            tooltip=f"Point in the sampling (0 to 1) at which the {term} starts to act.",
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
            tooltip=f"Point in the sampling (0 to 1) at which the {term} stops acting. Ending early leaves fine "
            "detail to the base model.",
        ),
        io.Combo.Input(
            "control",
            options=["same", "none"],
            default="same",
            optional=True,
            advanced=True,
            tooltip=f"What ControlNets on the sampler's prompts do to the {term}. same: both of its predictions use "
            "them. none: neither does, which costs one more model evaluation per step.",
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
            tooltip=f"How much of the component of the {term}'s pull that only scales the image is kept: 1 all of "
            "it, 0 none. Lower it if colours oversaturate.",
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
            tooltip="Upper limit for the length of the pull at each step, in latent units; 0 is no limit. Helps "
            "against burnt images at high weights.",
        ),
        WeightSchedule.Input(
            "schedule",
            optional=True,
            tooltip="Varies the weight over the course of the sampling; from Domain Guidance Schedule. Without it, "
            "the weight is constant.",
        ),
        io.Int.Input(
            "every",
            default=1,
            min=1,
            max=100,
            optional=True,
            advanced=True,
            tooltip=f"The {term} is evaluated on every n-th step and held on the steps between. 2 saves half of its "
            "time; Domain Guidance Report shows how far it moves in between. Side networks gain little from it.",
        ),
    ]
