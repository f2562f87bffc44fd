"""Generator to Mesh: the surface of an EG3D generator's volume."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.generators.drawing import Drawing
from .comfy_host.generators.views import mesh
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .generator_types import SEED_MAX, GeneratorIO, GeneratorLatentIO


class DomainGuidanceGeneratorMesh(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceGeneratorMesh",
            display_name="Generator To Mesh",
            category="domain guidance",
            description=(
                "Extracts the surface of an EG3D generator's head or cat as a closed mesh with colours, for Save 3D "
                "Model and Preview 3D."
            ),
            search_aliases=["3d", "eg3d mesh", "gan to mesh", "marching cubes", "head to glb", "export 3d"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="An EG3D generator, from Load Generator or adapted."),
                io.Int.Input(
                    "seed", default=0, min=0, max=SEED_MAX, control_after_generate=True, tooltip="Seed of the head."
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Truncation (psi): 1 for full variety, 0.7 for safer heads, 0 for the average head.",
                ),
                io.Int.Input(
                    "resolution",
                    default=128,
                    min=8,
                    max=512,
                    step=8,
                    tooltip="Number of grid points in each direction. Doubling it takes eight times as long and "
                    "gives four times as many triangles.",
                ),
                io.Float.Input(
                    "density",
                    default=10.0,
                    min=0.01,
                    max=1000.0,
                    step=0.5,
                    round=0.001,
                    tooltip="Density threshold of the surface. Lower it if the mesh has holes; raise it if there "
                    "are floating pieces.",
                ),
                GeneratorLatentIO.Input(
                    "latent",
                    optional=True,
                    tooltip="Uses the first of these latents, exactly as it is, instead of the seed.",
                ),
            ],
            outputs=[
                io.Mesh.Output(
                    tooltip="The mesh, for Save 3D Model. Its colours are those of the volume before "
                    "super-resolution and already include the light: display it unlit."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(cls, generator, seed, truncation, resolution, density, latent=None) -> io.NodeOutput:
        say = line_at(cls.hidden.unique_id)
        return io.NodeOutput(mesh(generator, Drawing(seed, 1, truncation), resolution, density, latent, say=say))
