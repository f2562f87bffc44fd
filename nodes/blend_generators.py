"""Blend Generators: the shapes of one, the looks of another."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.generators.blending import blend_generators
from .generator_types import GeneratorIO

RESOLUTIONS = [str(4 << level) for level in range(9)]


class DomainGuidanceBlendGenerators(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceBlendGenerators",
            display_name="Blend Generators",
            category="model/merging",
            description=(
                "Makes one generator of two that share an origin, block by block: coarse blocks decide pose and "
                "shape, fine ones textures and colours. With equal amounts it is a plain mean of the weights."
            ),
            search_aliases=["layer swapping", "network blending", "toonify", "stylegan merge", "merge generators"],
            inputs=[
                GeneratorIO.Input("generator1", tooltip="Gives the coarse blocks by default: poses and shapes."),
                GeneratorIO.Input(
                    "generator2",
                    tooltip="Gives the fine blocks by default: textures and colours. Trained from generator1, or "
                    "both from a third.",
                ),
                io.Combo.Input(
                    "fine_from",
                    options=RESOLUTIONS,
                    default="32",
                    tooltip="Blocks of so many pixels and more are the fine ones. For faces of 1024 px, 16 changes "
                    "shapes with the looks, 64 only the looks.",
                ),
                io.Float.Input(
                    "coarse_amount",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Share of generator2 in the coarse blocks.",
                ),
                io.Float.Input(
                    "fine_amount",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Share of generator2 in the fine blocks.",
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
                    tooltip="Of the passage between coarse and fine, in octaves of resolution; 0 for a step.",
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
                    tooltip="Share of generator2 in the mapping from seeds to styles, which an adaptation leaves "
                    "as it is.",
                ),
                io.String.Input(
                    "amounts",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Instead of fine_from, the two amounts and width: generator2's share in each block from 4 "
                    "px up, such as 0, 0, 0.2, 0.8, 1.",
                ),
            ],
            outputs=[GeneratorIO.Output(display_name="generator", tooltip="For Sample Generator and Save Generator.")],
        )

    @classmethod
    def execute(
        cls, generator1, generator2, fine_from, coarse_amount, fine_amount, width=0.0, mapping_amount=0.0, amounts=""
    ) -> io.NodeOutput:
        passage = {"fine_from": int(fine_from), "coarse": coarse_amount, "fine": fine_amount, "width": width}
        return io.NodeOutput(blend_generators(generator1, generator2, passage, mapping_amount, amounts))
