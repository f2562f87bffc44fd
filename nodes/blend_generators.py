"""Blend Generators: the shapes of one, the looks of another."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.generators.blending import blend_generators
from .finite_inputs import finite_inputs
from .generator_types import GeneratorIO

RESOLUTIONS = [str(4 << level) for level in range(9)]


class DomainGuidanceBlendGenerators(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceBlendGenerators",
            display_name="Blend Generators",
            category="domain guidance",
            description=(
                "Combines two generators of the same origin into one, block by block: coarse blocks decide pose and "
                "shape, fine blocks textures and colours. With equal amounts it is a plain average of the weights."
            ),
            search_aliases=["layer swapping", "network blending", "toonify", "stylegan merge", "merge generators"],
            inputs=[
                GeneratorIO.Input(
                    "generator1", tooltip="With the default amounts, provides the coarse blocks: poses and shapes."
                ),
                GeneratorIO.Input(
                    "generator2",
                    tooltip="With the default amounts, provides the fine blocks: textures and colours. One of the "
                    "two must have been trained from the other, or both from a third.",
                ),
                io.Combo.Input(
                    "fine_from",
                    options=RESOLUTIONS,
                    default="32",
                    tooltip="Blocks of this resolution in pixels and above count as fine. For faces at 1024 px, 16 "
                    "changes shapes along with the look; 64 changes only the look.",
                ),
                io.Float.Input(
                    "coarse_amount",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Share of generator2 in the coarse blocks (0 to 1).",
                ),
                io.Float.Input(
                    "fine_amount",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Share of generator2 in the fine blocks (0 to 1).",
                ),
                io.Float.Input(
                    "width",
                    default=0.0,
                    min=0.0,
                    max=4.0,
                    step=0.1,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Width of the transition between coarse and fine blocks, in doublings of the "
                    "resolution; 0 is an abrupt change.",
                ),
                io.Float.Input(
                    "mapping_amount",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Share of generator2 in the mapping network, which turns seeds into styles (0 to 1). "
                    "Has no effect after Adapt Generator, which leaves that network unchanged.",
                ),
                io.String.Input(
                    "amounts",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Replaces fine_from, both amounts and width: the share of generator2 in each block from "
                    "4 px up, separated by commas, such as 0, 0, 0.2, 0.8, 1.",
                ),
            ],
            outputs=[
                GeneratorIO.Output(
                    display_name="generator",
                    tooltip="The blended generator, for Sample Generator or Save Generator. Its card records the "
                    "history of both.",
                )
            ],
        )

    @classmethod
    @finite_inputs
    def execute(
        cls, generator1, generator2, fine_from, coarse_amount, fine_amount, width=0.0, mapping_amount=0.0, amounts=""
    ) -> io.NodeOutput:
        passage = {"fine_from": int(fine_from), "coarse": coarse_amount, "fine": fine_amount, "width": width}
        return io.NodeOutput(blend_generators(generator1, generator2, passage, mapping_amount, amounts))
