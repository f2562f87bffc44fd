"""Project Image Into Generator: the latent whose picture is closest to a given one."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.generators.invert import Inversion
from .comfy_host.generators.inversion import invert_images
from .comfy_host.unfinished_results import last_cancel, remember_cancel
from .generator_types import SEED_MAX, GeneratorCamerasIO, GeneratorIO, GeneratorLatentIO

PER_LAYER, ONE = "one for each (w+)", "one for all (w)"


class DomainGuidanceInvertImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceInvertImage",
            display_name="Project Image Into Generator",
            category="model/latent",
            description=(
                "Finds the latent with which a generator draws a picture as close as it can to yours. Draw that "
                "latent with an adapted generator, and it is your picture in its style."
            ),
            search_aliases=[
                "gan inversion",
                "invert image",
                "stylegan projector",
                "face to latent",
                "my face in this style",
            ],
            inputs=[
                GeneratorIO.Input(
                    "generator", tooltip="The one to find the picture in: the source, not the adapted one."
                ),
                io.Image.Input(
                    "image",
                    tooltip="One picture or several, cut to their central square, framed as "
                    "the generator's own pictures are.",
                ),
                io.Int.Input("steps", default=500, min=1, max=10000, tooltip="Of the search, for each picture."),
                io.Float.Input(
                    "learning_rate",
                    default=0.2,
                    min=0.001,
                    max=2.0,
                    step=0.01,
                    round=0.0001,
                    tooltip="Size of a step, in units of the styles' spread. Lower it if the picture jumps about.",
                ),
                io.Combo.Input(
                    "styles",
                    options=[PER_LAYER, ONE],
                    default=PER_LAYER,
                    tooltip="One style for each layer comes closest; one for all stays among what the generator draws "
                    "by itself, and takes new styles better.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Compares pictures by its features as well as by "
                    "pixels, which helps with real photographs.",
                ),
                io.Float.Input(
                    "clip_weight",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Of clip_vision's features beside the pixels.",
                ),
                io.Int.Input(
                    "candidates",
                    default=64,
                    min=0,
                    max=10000,
                    optional=True,
                    advanced=True,
                    tooltip="Random pictures that are looked at first; the search begins at the closest of them "
                    "or at the mean one.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=False,
                    optional=True,
                    advanced=True,
                    tooltip="Of the candidates; the same seed finds the same latent.",
                ),
                GeneratorCamerasIO.Input(
                    "cameras",
                    optional=True,
                    tooltip="With an EG3D generator: from where the pictures were taken, one for all or one for "
                    "each; without, from the front.",
                ),
            ],
            outputs=[
                GeneratorLatentIO.Output(
                    display_name="latent", tooltip="For Sample Generator, with this generator or one adapted from it."
                ),
                io.Image.Output(display_name="found", tooltip="What the generator draws with it."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return last_cancel(cls.hidden.unique_id)

    @classmethod
    def execute(
        cls,
        generator,
        image,
        steps,
        learning_rate,
        styles,
        clip_vision=None,
        clip_weight=1.0,
        candidates=64,
        seed=0,
        cameras=None,
    ) -> io.NodeOutput:
        settings = Inversion(
            steps,
            learning_rate,
            per_layer=0.5 if styles == PER_LAYER else 0.0,
            candidates=candidates,
            feature_weight=clip_weight,
            seed=seed,
        )
        found = invert_images(generator, image, settings, clip_vision, cameras)
        if not found.is_whole:
            remember_cancel(cls.hidden.unique_id)
        return io.NodeOutput(found.styles, found.pictures)
