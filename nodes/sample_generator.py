"""Sample Generator: pictures of a GAN, by seed, along a way between seeds, or of latents."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..domain_guidance.generators import Noise
from ..domain_guidance.generators.drawing import Drawing, Way
from .comfy_host.generators.pictures import sample
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .generator_types import SEED_MAX, GeneratorIO, GeneratorLatentIO

WAYS: dict[str, Way] = {"none": "none", "spherical in z": "z", "linear in w": "w"}


class DomainGuidanceSampleGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSampleGenerator",
            display_name="Sample Generator",
            category="domain guidance",
            description=(
                "Draws images with a generator: one for each seed, or frames that move from seed to seed. A seed "
                "always gives the same image, however many are drawn, and the same one as in NVIDIA's tools."
            ),
            search_aliases=["stylegan", "gan", "generate faces", "style mixing", "latent walk", "interpolation"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="From Load Generator or any other generator node."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Seed of the first image; the next images use the seeds that follow.",
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    min=1,
                    max=4096,
                    tooltip="Number of images, or of frames if interpolation is on.",
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Truncation (psi): 1 for full variety, 0.7 for safer images closer to the average, 0 "
                    "for the average image, negative values for the opposite.",
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(WAYS),
                    default="none",
                    tooltip="none: one image for each seed. Otherwise, frames move from one seed to the next: "
                    "spherical in z on an arc between latents, linear in w straight between styles, which is "
                    "smoother.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="With interpolation: returns to the first seed and stops one frame before it, so that "
                    "the frames play as a loop.",
                ),
                GeneratorLatentIO.Input(
                    "latent",
                    optional=True,
                    tooltip="Draws these latents, exactly as they are, instead of seeds; from Project Image Into "
                    "Generator or another Sample Generator. truncation then only affects mix_seed, seed only random "
                    "noise, and count only interpolation.",
                ),
                io.Int.Input(
                    "mix_from",
                    default=0,
                    min=0,
                    max=17,
                    optional=True,
                    advanced=True,
                    tooltip="Style mixing: layers from this number up use the styles of mix_seed. About 4 keeps "
                    "pose and shape, 8 everything but the colours; 0 is off. A generator of 256 px has 14 layers, "
                    "one of 1024 px 18.",
                ),
                io.Int.Input(
                    "mix_seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    optional=True,
                    advanced=True,
                    tooltip="Seed of the styles that mix_from mixes in.",
                ),
                io.Int.Input(
                    "stops",
                    default=2,
                    min=2,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="With interpolation: number of seeds to pass through, including the first.",
                ),
                io.Int.Input(
                    "truncation_cutoff",
                    default=0,
                    min=0,
                    max=18,
                    optional=True,
                    advanced=True,
                    tooltip="Truncates only this many layers, from the coarsest, which preserves the variety of "
                    "colours; 0 truncates all.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(get_args(Noise)),
                    default="const",
                    optional=True,
                    advanced=True,
                    tooltip="Noise for fine details such as hair and pores. const: the file's own, always the same. "
                    "random: drawn anew for each seed. none: smooth.",
                ),
                io.Int.Input(
                    "class_label",
                    default=-1,
                    min=-1,
                    max=8191,
                    optional=True,
                    advanced=True,
                    tooltip="Class to draw, counted from 0, for a generator trained with classes; -1 for none.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The images, at the generator's own resolution."),
                GeneratorLatentIO.Output(
                    display_name="latent",
                    tooltip="The styles of the images, after truncation and mixing. Use them to draw the same "
                    "images with another generator, such as one adapted from this.",
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
        interpolation,
        loop,
        latent=None,
        mix_from=0,
        mix_seed=0,
        stops=2,
        truncation_cutoff=0,
        noise: Noise = "const",
        class_label=-1,
    ) -> io.NodeOutput:
        drawing = Drawing(
            seed,
            count,
            truncation,
            cutoff=truncation_cutoff or None,
            label=None if class_label < 0 else class_label,
            mix_from=mix_from or None,
            mix_seed=mix_seed,
            way=WAYS[interpolation],
            stops=stops,
            loop=loop,
        )
        return io.NodeOutput(*sample(generator, drawing, noise, latent, say=line_at(cls.hidden.unique_id)))
