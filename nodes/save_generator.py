"""Save Generator: a generator of a graph as a file."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.generators.files import save_generator
from .generator_types import GeneratorIO


class DomainGuidanceSaveGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSaveGenerator",
            display_name="Save Generator",
            category="domain guidance",
            description=(
                "Saves a generator to output/generators, with a record of where it came from and how it was "
                "trained. Existing files are never overwritten."
            ),
            search_aliases=["stylegan", "gan", "save stylegan", "convert pkl", "export generator"],
            is_output_node=True,
            inputs=[
                GeneratorIO.Input("generator", tooltip="From Blend Generators, Adapt Generator or Load Generator."),
                io.String.Input(
                    "name",
                    default="my generator",
                    tooltip="File name without folders or extension. If it exists already, the new file becomes "
                    "name-2.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file_name",
                    tooltip="Name of the file in output/generators, as Load Generator lists it after a refresh (R).",
                )
            ],
        )

    @classmethod
    def execute(cls, generator, name: str) -> io.NodeOutput:
        return io.NodeOutput(save_generator(generator, name).name)
