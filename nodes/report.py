"""Domain Guidance Report: a KSampler that says which weights to use."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from .comfy_host.guidance.report import report
from .comfy_host.node_text import tell_here
from .comfy_host.sampling import Sampling, as_image
from .finite_inputs import finite_inputs
from .ksampler_inputs import ksampler_inputs


class DomainGuidanceReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceReport",
            display_name="Domain Guidance Report",
            category="domain guidance",
            description=(
                "Samples exactly like KSampler and shows, step by step, how strongly domain and prompt pull, with "
                "advice on weight, cfg and range."
            ),
            search_aliases=[
                "too strong",
                "domain guidance analysis",
                "which weight",
                "guidance plot",
                "burn",
                "oversaturation",
                "cfg advice",
                "ksampler report",
            ],
            inputs=[
                *ksampler_inputs(),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Shows the image in the report and counts its clipped pixels."
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="The same latent that KSampler would give."),
                io.Image.Output(display_name="report", tooltip="The advice, with the plots below it."),
                io.String.Output(
                    display_name="advice",
                    tooltip="The advice in words, then the numbers of every step; show it with Preview as Text.",
                ),
            ],
        )

    @classmethod
    @finite_inputs
    def execute(cls, model, cfg, vae=None, **sampling) -> io.NodeOutput:
        made = report(model, Sampling(**sampling), cfg, vae)
        for advice in reversed(made.advice):  # the newest stands first at the node
            tell_here(advice.text, level=logging.INFO)
        return io.NodeOutput(made.latent, as_image(made.plot), made.text)
