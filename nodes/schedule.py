"""Domain Guidance Schedule: the weight of a term over the sampling."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.guidance import Schedule, schedule
from .finite_inputs import finite_inputs
from .guidance_inputs import WeightSchedule
from .number_lists import parse_numbers

SHAPES = ("linear", "cosine", "interval", "constant", "list")


class DomainGuidanceSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSchedule",
            display_name="Domain Guidance Schedule",
            category="domain guidance",
            description=(
                "Varies the weight of a domain or a term over the course of the sampling. One schedule can serve "
                "several nodes."
            ),
            search_aliases=[
                "keyframe",
                "domain",
                "guidance schedule",
                "weight over time",
                "guidance interval",
                "ramp",
                "keyframes",
            ],
            inputs=[
                io.Combo.Input(
                    "shape",
                    options=list(SHAPES),
                    default="linear",
                    tooltip="linear: a straight line from first to last. cosine: the same, level at both ends. "
                    "interval: first between start and end, 0 outside. constant: first throughout. list: straight "
                    "lines through the numbers in list.",
                ),
                io.Float.Input(
                    "first",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Factor on the weight at start_percent: 1 is the node's own weight, 0 is off, negative "
                    "values push away.",
                ),
                io.Float.Input(
                    "last",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Factor on the weight at end_percent, for linear and cosine.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Point in the sampling (0 to 1) at which the shape begins. Before it, the first factor "
                    "applies (0 for interval).",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Point in the sampling (0 to 1) at which the shape ends. After it, the last factor "
                    "applies (0 for interval).",
                ),
                io.String.Input(
                    "list",
                    default="1, 0.5, 0",
                    optional=True,
                    advanced=True,
                    tooltip="For the shape list: factors at equal distances from start_percent to end_percent, "
                    "separated by commas. Separated by semicolons, 1,5 means one and a half.",
                ),
            ],
            outputs=[
                WeightSchedule.Output(
                    display_name="schedule", tooltip="Connect it to Apply Domain Guidance or Domain Guidance Term."
                )
            ],
        )

    @classmethod
    @finite_inputs
    def execute(cls, shape, first, last, start_percent, end_percent, list="1, 0.5, 0") -> io.NodeOutput:
        return io.NodeOutput(_schedule(shape, first, last, start_percent, end_percent, list))


def _schedule(shape: str, first: float, last: float, start: float, end: float, factors: str) -> Schedule:
    if shape == "constant":
        return schedule.constant(first)
    if shape == "interval":
        return schedule.interval(start, end, first)
    if shape == "list":
        return schedule.listed(parse_numbers(factors, "factors", -10, 10), start, end)
    return {"linear": schedule.linear, "cosine": schedule.cosine}[shape](first, last, start, end)
