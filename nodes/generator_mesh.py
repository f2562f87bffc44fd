"""Generator to Mesh: the surface of an EG3D generator's volume."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.generators.drawing import Drawing
from .comfy_host.generators.views import mesh
from .generator_types import SEED_MAX, GeneratorIO, GeneratorLatentIO


class DomainGuidanceGeneratorMesh(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceGeneratorMesh",
            display_name="Generator To Mesh",
            category="3d",
            description="The closed surface of an EG3D generator's head or cat as a mesh with colours, for Save "
            "3D Model and Preview 3D.",
            search_aliases=["eg3d mesh", "gan to mesh", "marching cubes", "head to glb", "export 3d"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="An EG3D generator, from Load Generator or adapted."),
                io.Int.Input(
                    "seed", default=0, min=0, max=SEED_MAX, control_after_generate=True, tooltip="Of the head."
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="psi, as in View Generator.",
                ),
                io.Int.Input(
                    "resolution",
                    default=128,
                    min=8,
                    max=512,
                    step=8,
                    tooltip="Points of the grid in each direction. Twice as many take eight times the time, and "
                    "make four times the triangles.",
                ),
                io.Float.Input(
                    "density",
                    default=10.0,
                    min=0.01,
                    max=1000.0,
                    step=0.5,
                    round=0.001,
                    tooltip="At which the surface lies. Lower where the mesh has holes, higher where there are "
                    "floating pieces.",
                ),
                GeneratorLatentIO.Input(
                    "latent", optional=True, tooltip="Take the first of these instead of the seed, as it is."
                ),
            ],
            outputs=[
                io.Mesh.Output(
                    tooltip="For Save 3D Model. Colours are those of the volume, before the super-resolution."
                )
            ],
        )

    @classmethod
    def execute(cls, generator, seed, truncation, resolution, density, latent=None) -> io.NodeOutput:
        return io.NodeOutput(mesh(generator, Drawing(seed, 1, truncation), resolution, density, latent))
