"""Project Image Into Generator: the latent whose picture is closest to a given one."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.generators.invert import Inversion
from .comfy_host.generators.inversion import invert_images
from .comfy_host.unfinished_results import last_unfinished, remember_unfinished
from .finite_inputs import finite_inputs
from .generator_types import SEED_MAX, GeneratorCamerasIO, GeneratorIO, GeneratorLatentIO

PER_LAYER, ONE = "one for each (w+)", "one for all (w)"


class DomainGuidanceInvertImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceInvertImage",
            display_name="Project Image Into Generator",
            category="domain guidance",
            description=(
                "Finds the latent for which the generator's image is as close as possible to yours (GAN inversion). "
                "Draw that latent with an adapted generator to see your image in its style."
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
                    "generator", tooltip="The generator to search in: the original one, not the adapted one."
                ),
                io.Image.Input(
                    "image",
                    tooltip="One or more images, each searched for separately. Each is cropped to its central "
                    "square; transparent areas become white. Frame them like the generator's own images.",
                ),
                io.Int.Input(
                    "steps",
                    default=500,
                    min=1,
                    max=10000,
                    tooltip="Search steps for each image. The second half refines.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.2,
                    min=0.001,
                    max=2.0,
                    step=0.01,
                    round=0.0001,
                    tooltip="Step size of the search, relative to the spread of the styles. Lower it if the preview "
                    "jumps around; raise it if it hardly moves.",
                ),
                io.Combo.Input(
                    "styles",
                    options=[PER_LAYER, ONE],
                    default=PER_LAYER,
                    tooltip="one for each (w+): a separate style for each layer, which comes closest to your image. "
                    "one for all (w): a single style, which stays among what the generator draws by itself and "
                    "takes on new styles better.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Compares this model's features as well as pixels. Helps with photographs, but takes "
                    "longer.",
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
                    tooltip="Weight of clip_vision's features relative to the pixels.",
                ),
                io.Int.Input(
                    "candidates",
                    default=64,
                    min=0,
                    max=10000,
                    optional=True,
                    advanced=True,
                    tooltip="Number of random images to look at first; the search starts from the closest of them "
                    "or from the average image.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=False,
                    optional=True,
                    advanced=True,
                    tooltip="Seed of the candidates; the same seed finds the same latent.",
                ),
                GeneratorCamerasIO.Input(
                    "cameras",
                    optional=True,
                    tooltip="For EG3D generators: the cameras that took the images, one for all of them or one for "
                    "each. Without it, from the front.",
                ),
            ],
            outputs=[
                GeneratorLatentIO.Output(
                    display_name="latent",
                    tooltip="The latent that was found, for Sample Generator with this generator or one adapted "
                    "from it.",
                ),
                io.Image.Output(
                    display_name="found", tooltip="What this generator draws from the latent: how good the search was."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return last_unfinished(cls.hidden.unique_id)

    @classmethod
    @finite_inputs
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
            remember_unfinished(cls.hidden.unique_id)
        return io.NodeOutput(found.styles, found.pictures)
