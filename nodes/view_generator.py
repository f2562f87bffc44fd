"""View Generator: an EG3D generator's volumes, seen by cameras."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..domain_guidance.generators import Noise
from ..domain_guidance.generators.drawing import Drawing
from .comfy_host.generators.views import Volume, view
from .generator_types import SEED_MAX, GeneratorCamerasIO, GeneratorIO, GeneratorLatentIO


class DomainGuidanceViewGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceViewGenerator",
            display_name="View Generator",
            category="3d",
            description="Pictures of an EG3D generator's heads or cats from all sides, with their depth and "
            "surface normals.",
            search_aliases=["eg3d", "3d gan", "novel view", "depth map", "normal map", "turntable"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="An EG3D generator, from Load Generator or adapted."),
                GeneratorCamerasIO.Input(
                    "cameras", optional=True, tooltip="From Generator Cameras; the one in front without."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Of the first head; the others have the numbers after it.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="How many heads. Each is seen by all cameras before the next.",
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="psi: 1 for all of the variety, less for safer heads nearer to the mean one, 0 for "
                    "the mean itself.",
                ),
                GeneratorLatentIO.Input(
                    "latent",
                    optional=True,
                    tooltip="See these instead of seeds, as they are. truncation and count then do nothing.",
                ),
                io.Int.Input(
                    "rays",
                    default=0,
                    min=0,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="In each direction, before the super-resolution: time and the size of depth and "
                    "normals. 0: the generator's own, 128 mostly.",
                ),
                io.Int.Input(
                    "samples",
                    default=0,
                    min=0,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Of each ray, and as many again where it meets something: time for fewer artefacts. 2 "
                    "at least; 0: the generator's own, 48 mostly.",
                ),
                io.Int.Input(
                    "rays_at_once",
                    default=4096,
                    min=1,
                    max=2**20,
                    optional=True,
                    advanced=True,
                    tooltip="Bounds the memory, which grows with samples: 4096 at 48 samples take about half a "
                    "gigabyte. The pictures do not depend on it.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(get_args(Noise)),
                    default="const",
                    optional=True,
                    advanced=True,
                    tooltip="Of fine details of the volume: const, the file's own; random, drawn anew for each "
                    "seed; none, smooth.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The pictures: the first head by all cameras, then the next head."),
                io.Image.Output(
                    display_name="depth", tooltip="Near is white, far is black; as many pixels as there are rays."
                ),
                io.Image.Output(
                    display_name="normals",
                    tooltip="Red to the right, green up, blue to the viewer; as many pixels as there are rays.",
                ),
                GeneratorLatentIO.Output(
                    display_name="latent", tooltip="The heads' styles, for Generator To Mesh or an adapted generator."
                ),
            ],
        )

    @classmethod
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
        noise="const",
    ) -> io.NodeOutput:
        return io.NodeOutput(
            *view(
                generator, Drawing(seed, count, truncation), Volume(cameras, rays, samples, rays_at_once, noise), latent
            )
        )
