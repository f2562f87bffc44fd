"""Adapt Generator: a GAN is adapted to a prompt or a domain of images by the graph's own diffusion model."""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.adaptation import AdaptationSettings
from ..domain_guidance.adaptation.presets import ADAPTATION_PRESETS
from ..domain_guidance.distillation import Distillation, NoiseRange
from ..domain_guidance.distillation.step import Score
from ..domain_guidance.runs.process import Precision
from .comfy_host.generators.adapt import AdaptRequest, adapt_in_host
from .comfy_host.generators.progress import AdaptationProgress
from .comfy_host.node_text import line_at, tell
from .comfy_host.sampling import as_image
from .distillation_inputs import scale_inputs, score_inputs
from .finite_inputs import finite_inputs
from .generator_types import GeneratorIO
from .run_inputs import OWN, RunInputs, defaults_of, settled

RUN = RunInputs("adaptation", " in output/generators")

NO_REGULARISER, DIRECTIONAL, RECONSTRUCTION = REGULARISERS = ("none", "directional", "reconstruction")


class DomainGuidanceAdaptGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceAdaptGenerator",
            display_name="Adapt Generator",
            category="domain guidance",
            description=(
                "Fine-tunes a GAN generator so that its images move, seed for seed, towards what the connected "
                "model prefers: a prompt, or, with Apply Domain Guidance on the model, a domain of images. Run it "
                "again to continue after a Cancel or to train for more steps."
            ),
            search_aliases=[
                "stylegan",
                "stylegan fusion",
                "stylegan nada",
                "gan adaptation",
                "score distillation",
                "sds",
                "fine-tune gan",
            ],
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                GeneratorIO.Input(
                    "generator", tooltip="The generator to start from, from Load Generator. It is not changed."
                ),
                io.Model.Input(
                    "model",
                    tooltip="The critic: any image model that predicts noise, velocity or flow. Everything applied "
                    "to it takes effect: LoRAs, Apply Domain Guidance, IP-Adapter, ModelSampling nodes. It is not "
                    "changed.",
                ),
                io.Vae.Input("vae", tooltip="The model's VAE. It encodes the generator's images for the critic."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="Prompt that describes the result. ControlNets attached to it take effect. Use the "
                    "empty prompt when a domain alone should decide.",
                ),
                io.Conditioning.Input(
                    "negative", tooltip="The empty prompt, or a description of what to avoid. Ignored at cfg 1."
                ),
                RUN.steps(),
                io.Float.Input(
                    "cfg",
                    default=100.0,
                    min=0.0,
                    max=1000.0,
                    step=1.0,
                    round=0.01,
                    tooltip="How strongly the prompt pulls. The paper uses 100 for Stable Diffusion; small models "
                    "such as the Toy World's need about 7.5. Use 1, with empty prompts, when Apply Domain Guidance "
                    "alone should decide.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=8e-4,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=0.00000001,
                    advanced=True,
                    tooltip="Size of each optimiser step. If the images fall apart, lower it and take more steps.",
                ),
                io.Combo.Input(
                    "regulariser",
                    options=list(REGULARISERS),
                    default=DIRECTIONAL,
                    tooltip="Keeps the result close to the source, so that the images do not all become alike. "
                    "directional: also takes into account what the critic says about the source's image; best for "
                    "prompts, at twice the critic's work. reconstruction: keeps images close to the source's; best "
                    "for domains. none: fastest.",
                ),
                io.Float.Input(
                    "regulariser_weight",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.0001,
                    advanced=True,
                    tooltip="Strength of the regulariser relative to the critic. The paper uses 1 for faces and 0.5 "
                    "for animals. Ignored if regulariser is none.",
                ),
                RUN.seed(),
                RUN.save_name("my adapted generator"),
                RUN.on_existing(),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=256,
                    optional=True,
                    advanced=True,
                    tooltip="Images per step. Larger batches give steadier steps; memory and time grow with them.",
                ),
                RUN.accumulation(),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=2048,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Side length in pixels at which the critic sees the images; they are resized to it. 0: "
                    "512 for SD 1 and 2, 1024 for later models. Lower values need less memory.",
                ),
                *score_inputs(),
                io.Int.Input(
                    "layers",
                    default=0,
                    min=0,
                    max=18,
                    optional=True,
                    advanced=True,
                    tooltip="Number of the generator's layers to train: those that the critic would change most. 0 "
                    "trains all convolutions.",
                ),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.01,
                    max=2.0,
                    step=0.05,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Truncation (psi) of the latents used for training. 1 covers the generator's full "
                    "variety; lower values stay closer to typical images.",
                ),
                io.Boolean.Input(
                    "average",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Saves a moving average of the weights (EMA) instead of the last ones: smoother, but "
                    "slower to change.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["fp32", "bf16", "fp16"],
                    default="fp32",
                    optional=True,
                    advanced=True,
                    tooltip="Number format of the generator's computation; bf16 and fp16 save memory and time on a "
                    "GPU. The critic keeps its own.",
                ),
                RUN.preview_every(25, "preview images (source above, adapted below)"),
                RUN.checkpoint_every(),
                RUN.preset(
                    ADAPTATION_PRESETS,
                    "A longer one continues a shorter one. Too many steps burn the images, so watch the previews; "
                    "Cancel keeps the work.",
                ),
                *scale_inputs(),
            ],
            outputs=[
                GeneratorIO.Output(
                    display_name="adapted",
                    tooltip="The adapted generator, read from the saved file. Connect it to Sample Generator.",
                ),
                io.Image.Output(
                    display_name="before_after",
                    tooltip="Images of the same seeds: the source above, the adapted generator below.",
                ),
                io.Image.Output(
                    display_name="curves",
                    tooltip="How far each step's images were from what the critic would make of them. The curve is "
                    "noisy, because every step draws its own noise; judge by the images.",
                ),
                io.String.Output(
                    display_name="file_name",
                    tooltip="Name of the saved file in output/generators, as Load Generator lists it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(
        cls,
        generator,
        model,
        vae,
        positive,
        negative,
        steps,
        cfg,
        learning_rate,
        regulariser,
        regulariser_weight,
        seed,
        save_name,
        on_existing,
        batch_size=1,
        accumulation=1,
        resolution=0,
        noise_low=0.01,
        noise_high=0.5,
        score: Score = "sds",
        percentile=0.95,
        unit_directional=False,
        relative_distance=0.0,
        perceptual=0.0,
        layers=0,
        truncation=1.0,
        average=False,
        precision: Precision = "fp32",
        preview_every=25,
        checkpoint_every=250,
        preset=OWN,
        unit_score=False,
        loss_scale=1.0,
    ) -> io.NodeOutput:
        on_node = {
            "steps": steps,
            "batch_size": batch_size,
            "accumulation": accumulation,
            "preview_every": preview_every,
        }
        numbers, said = settled(preset, ADAPTATION_PRESETS, on_node, defaults_of(cls, on_node))
        distillation = Distillation(
            noise=NoiseRange(noise_low, noise_high),
            score=score,
            percentile=percentile,
            unit_score=unit_score,
            scale=loss_scale,
            unit_directional=unit_directional,
            relative_distance=relative_distance,
            directional=regulariser_weight if regulariser == DIRECTIONAL else 0.0,
            reconstruction=regulariser_weight if regulariser == RECONSTRUCTION else 0.0,
        )
        settings = AdaptationSettings(
            steps=numbers["steps"],
            learning_rate=learning_rate,
            batch_size=numbers["batch_size"],
            accumulation=numbers["accumulation"],
            precision=precision,
            truncation=truncation,
            average=average,
            layers=layers,
            perceptual=perceptual,
            distillation=distillation,
            seed=seed,
            sample_every=numbers["preview_every"],
            checkpoint_every=checkpoint_every,
        )
        request = AdaptRequest(positive, negative, cfg, resolution, save_name, on_existing, settings, preset)
        say = line_at(cls.hidden.unique_id)
        if said:
            tell(say, said)
        adapted = adapt_in_host(generator, model, vae, request, AdaptationProgress(say))
        return io.NodeOutput(adapted.generator, as_image(adapted.comparison), as_image(adapted.curves), adapted.file)
