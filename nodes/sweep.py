"""Domain Guidance Sweep: the same picture under a grid of weights."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.guidance.sweep import ALL, LAST, sweep
from .comfy_host.sampling import Sampling, as_image
from .comfy_host.unfinished_results import last_unfinished, remember_unfinished
from .finite_inputs import finite_inputs
from .ksampler_inputs import ksampler_inputs
from .number_lists import parse_numbers


class DomainGuidanceSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSweep",
            display_name="Domain Guidance Sweep",
            category="domain guidance",
            description=(
                "Draws the same noise with every combination of a domain weight and a cfg and shows the images in "
                "one labelled grid. Cancel keeps the cells finished so far."
            ),
            search_aliases=[
                "find the weight",
                "domain guidance grid",
                "xy plot",
                "weight sweep",
                "cfg sweep",
                "compare weights",
            ],
            inputs=[
                *ksampler_inputs(cfg=False),
                io.Vae.Input("vae", tooltip="Decodes the latents."),
                io.String.Input(
                    "weights",
                    default="0, 1, 1.5, 2, 3",
                    tooltip="Domain weights, one column each, from -20 to 20, separated by commas. Separated by "
                    "semicolons, 1,5 means one and a half. They replace the weight of Apply Domain Guidance, which "
                    "must not be 0.",
                ),
                io.String.Input(
                    "cfgs",
                    default="2, 4, 6",
                    tooltip="Values of cfg, one row each, from 0 to 100, separated by commas. Separated by semicolons, "
                    "1,5 means one and a half.",
                ),
                io.Combo.Input(
                    "vary",
                    options=[LAST, ALL],
                    default=LAST,
                    optional=True,
                    advanced=True,
                    tooltip="With several domains. last: the Apply Domain Guidance closest to this node takes the "
                    "weights, the others keep theirs. all, in proportion: every domain's own weight is multiplied "
                    "by the numbers, so that 1 leaves them as they are.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="grid",
                    tooltip="Weights from left to right, cfg from top to bottom; at most 4096 pixels wide and high.",
                ),
                io.Image.Output(display_name="cells", tooltip="The images at full size, row by row."),
                io.String.Output(display_name="settings", tooltip="Weight and cfg of every cell, in the same order."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return last_unfinished(cls.hidden.unique_id)

    @classmethod
    @finite_inputs
    def execute(cls, model, vae, weights, cfgs, vary=LAST, **sampling) -> io.NodeOutput:
        columns, rows = (
            _each_once(parse_numbers(weights, "weights", -20, 20)),
            _each_once(parse_numbers(cfgs, "cfgs", 0, 100)),
        )
        made = sweep(model, vae, Sampling(**sampling), columns, rows, vary)
        if not made.is_whole:
            remember_unfinished(cls.hidden.unique_id)
        return io.NodeOutput(as_image(made.grid), made.pictures, made.settings)


def _each_once(numbers: list[float]) -> list[float]:
    return list(dict.fromkeys(numbers))
