"""View Generator: an EG3D generator's volumes, seen by cameras."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..domain_guidance.generators import Noise
from ..domain_guidance.generators.drawing import Drawing
from .comfy_host.generators.views import Volume, view
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .generator_types import SEED_MAX, GeneratorCamerasIO, GeneratorIO, GeneratorLatentIO


class DomainGuidanceViewGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceViewGenerator",
            display_name="View Generator",
            category="domain guidance",
            description=("Draws an EG3D generator's heads or cats from all sides, with depth and surface normals."),
            search_aliases=["3d", "eg3d", "3d gan", "novel view", "depth map", "normal map", "turntable"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="An EG3D generator, from Load Generator or adapted."),
                GeneratorCamerasIO.Input(
                    "cameras", optional=True, tooltip="From Generator Cameras. Without it, a single camera in front."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Seed of the first head; the next heads use the seeds that follow.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Number of heads. Each is seen by all cameras before the next.",
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
                GeneratorLatentIO.Input(
                    "latent",
                    optional=True,
                    tooltip="Shows these latents, exactly as they are, instead of seeds; truncation and count are "
                    "then ignored.",
                ),
                io.Int.Input(
                    "rays",
                    default=0,
                    min=0,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Rays in each direction before super-resolution, which is also the size of depth and "
                    "normals. Time grows with its square. 0: the generator's own, usually 128.",
                ),
                io.Int.Input(
                    "samples",
                    default=0,
                    min=0,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Samples along each ray, and as many again where it meets something. More take longer "
                    "and give fewer artefacts. At least 2; 0: the generator's own, usually 48.",
                ),
                io.Int.Input(
                    "rays_at_once",
                    default=4096,
                    min=1,
                    max=2**20,
                    optional=True,
                    advanced=True,
                    tooltip="Number of rays computed together, which limits memory: 4096 rays of 48 samples take "
                    "about half a gigabyte. It does not affect the images.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(get_args(Noise)),
                    default="const",
                    optional=True,
                    advanced=True,
                    tooltip="Noise for fine details of the volume. const: the file's own, always the same. random: "
                    "drawn anew for each seed. none: smooth.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The images: the first head from all cameras, then the next head."),
                io.Image.Output(
                    display_name="depth", tooltip="Near is white, far is black; as many pixels as there are rays."
                ),
                io.Image.Output(
                    display_name="normals",
                    tooltip="Red points right, green up, blue towards the viewer; as many pixels as there are rays.",
                ),
                GeneratorLatentIO.Output(
                    display_name="latent", tooltip="The heads' styles, for Generator To Mesh or an adapted generator."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(
        cls,
        generator,
        seed,
        count,
        truncation,
        cameras=None,
        latent=None,
        rays=0,
        samples=0,
        rays_at_once=4096,
        noise: Noise = "const",
    ) -> io.NodeOutput:
        return io.NodeOutput(
            *view(
                generator,
                Drawing(seed, count, truncation),
                Volume(cameras, rays, samples, rays_at_once, noise),
                latent,
                say=line_at(cls.hidden.unique_id),
            )
        )
