"""Load Generator: a StyleGAN2 of any known format, or an EG3D."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.domains.load_domain import changed_at
from .comfy_host.generators.files import load_generator
from .comfy_host.generators.folders import FOLDER, listed
from .generator_types import GeneratorIO


class DomainGuidanceLoadGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceLoadGenerator",
            display_name="Load Generator",
            category="domain guidance",
            description=(
                "Loads a StyleGAN2 generator from NVIDIA's .pkl files, rosinality's .pt files or models trained "
                "from them, an EG3D generator from its .pkl, or this pack's own files. Nothing in a file is "
                "executed; other formats are converted to safetensors once."
            ),
            search_aliases=["3d", "stylegan", "stylegan2", "eg3d", "gan", "load stylegan", "load pkl"],
            inputs=[
                io.Combo.Input(
                    "generator_name",
                    options=listed(),
                    tooltip="A generator file in models/generators or output/generators: .pkl, .pt, .pth or "
                    ".safetensors.",
                ),
            ],
            outputs=[
                GeneratorIO.Output(
                    display_name="generator",
                    tooltip="The generator with its averaged weights (EMA), for Sample Generator and the other "
                    "generator nodes.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, generator_name: str) -> float:
        """A file that was replaced under its name is another input."""
        return changed_at(FOLDER, generator_name)

    @classmethod
    def execute(cls, generator_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_generator(generator_name))
