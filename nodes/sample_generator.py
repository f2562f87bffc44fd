"""Sample Generator: pictures of a GAN, by seed, along a way between seeds, or of latents."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..domain_guidance.generators import Noise
from ..domain_guidance.generators.drawing import Drawing
from .comfy_host.generators.pictures import sample
from .generator_types import SEED_MAX, GeneratorIO, GeneratorLatentIO

WAYS = {"none": "none", "spherical in z": "z", "linear in w": "w"}


class DomainGuidanceSampleGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSampleGenerator",
            display_name="Sample Generator",
            category="model/sampling",
            description=(
                "Draws pictures with a generator, one for each seed, or frames on a way from seed to seed. A seed has "
                "the same picture however many are drawn, and it is the one that NVIDIA's tools show for it."
            ),
            search_aliases=["stylegan", "gan", "generate faces", "style mixing", "latent walk", "interpolation"],
            inputs=[
                GeneratorIO.Input("generator", tooltip="From Load Generator or any other node of generators."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Seed of the first picture; the others have the numbers after it.",
                ),
                io.Int.Input("count", default=8, min=1, max=4096, tooltip="How many pictures, or frames of a way."),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    tooltip="psi: 1 for all of the variety, less for safer pictures nearer to the mean one, 0 for "
                    "the mean itself.",
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(WAYS),
                    default="none",
                    tooltip="none: one picture for each seed. Otherwise count frames on the way from seed to the next "
                    "seed: on arcs between latents, or straight between styles, which is smoother.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="With interpolation: the way leads back to the first seed, so that the frames can be "
                    "played in a circle.",
                ),
                GeneratorLatentIO.Input(
                    "latent",
                    optional=True,
                    tooltip="Draw these instead of seeds, as they are: from Project Image Into Generator, or from "
                    "another Sample Generator. Truncation then does nothing, seed only for random noise, and "
                    "count only for interpolation.",
                ),
                io.Int.Input(
                    "mix_from",
                    default=0,
                    min=0,
                    max=17,
                    optional=True,
                    advanced=True,
                    tooltip="Style mixing: layers from this number up take the styles of mix_seed. About 4 keeps pose "
                    "and shape, 8 all but colours; 0 for no mixing. A generator of 256 px has 14 layers, one "
                    "of 1024 px 18.",
                ),
                io.Int.Input(
                    "mix_seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    optional=True,
                    advanced=True,
                    tooltip="Seed of the fine styles when mix_from is set.",
                ),
                io.Int.Input(
                    "stops",
                    default=2,
                    min=2,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="With interpolation: how many seeds the way passes, the first included.",
                ),
                io.Int.Input(
                    "truncation_cutoff",
                    default=0,
                    min=0,
                    max=18,
                    optional=True,
                    advanced=True,
                    tooltip="Truncate only so many layers from the coarsest, which leaves the colours their "
                    "variety; 0 for all.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(get_args(Noise)),
                    default="const",
                    optional=True,
                    advanced=True,
                    tooltip="Of fine details: const, the file's own and always the same; random, drawn anew for "
                    "each seed; none, smooth.",
                ),
                io.Int.Input(
                    "class_label",
                    default=-1,
                    min=-1,
                    max=8191,
                    optional=True,
                    advanced=True,
                    tooltip="Class of a generator that was trained with classes, counted from 0; -1 for none.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The pictures."),
                GeneratorLatentIO.Output(
                    display_name="latent",
                    tooltip="Their styles, to draw the same ones with another generator, "
                    "such as one adapted from this.",
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
        interpolation,
        loop,
        latent=None,
        mix_from=0,
        mix_seed=0,
        stops=2,
        truncation_cutoff=0,
        noise="const",
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
        return io.NodeOutput(*sample(generator, drawing, noise, latent))
