"""Adapt Generator: a StyleGAN2 becomes what a prompt or a domain of images asks for, judged by the graph's own
diffusion model.
"""

from __future__ import annotations

from comfy_api.latest import io

from ..domain_guidance.adaptation import AdaptationSettings
from ..domain_guidance.distillation import Distillation, NoiseRange
from .comfy_host.generators.adapt import AdaptRequest, adapt_in_host
from .comfy_host.generators.progress import AdaptationProgress
from .comfy_host.node_text import line_at
from .comfy_host.sampling import as_image
from .generator_types import GeneratorIO

NO_REGULARISER, DIRECTIONAL, RECONSTRUCTION = REGULARISERS = ("none", "directional", "reconstruction")


class DomainGuidanceAdaptGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceAdaptGenerator",
            display_name="Adapt Generator",
            category="model/training",
            description=(
                "Turns a generator's pictures, seed for seed, into what the connected model and prompts would rather "
                "see: to a prompt, or with Apply Domain Guidance on the model to a domain of images. Queue again to "
                "go on after a Cancel, or with more steps."
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
                GeneratorIO.Input("generator", tooltip="The source, from Load Generator. It stays as it is."),
                io.Model.Input(
                    "model",
                    tooltip="The critic. Whatever is on it acts: LoRAs, Apply Domain Guidance, "
                    "IP-Adapter, model sampling. It stays as it is.",
                ),
                io.Vae.Input("vae", tooltip="The model's VAE, through which the critic sees the generator's pictures."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the pictures shall become. ControlNets in it act. The empty prompt "
                    "where a domain alone decides.",
                ),
                io.Conditioning.Input(
                    "negative", tooltip="The empty prompt, or what to keep away from. Not read at cfg 1."
                ),
                io.Int.Input(
                    "steps",
                    default=1000,
                    min=1,
                    max=1_000_000,
                    tooltip="Optimiser steps in all. More steps extend a finished adaptation.",
                ),
                io.Float.Input(
                    "cfg",
                    default=100.0,
                    min=0.0,
                    max=1000.0,
                    step=1.0,
                    round=0.01,
                    tooltip="How strongly the prompt pulls; 100 is the paper's for Stable Diffusion, small models "
                    "need about 7.5. 1 with empty prompts where Apply Domain Guidance alone shall decide.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=8e-4,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=0.00000001,
                    tooltip="Size of a step. Lower it where pictures fall apart, and take more steps.",
                ),
                io.Combo.Input(
                    "regulariser",
                    options=list(REGULARISERS),
                    default=DIRECTIONAL,
                    tooltip="What holds on to the source, against all pictures becoming alike. directional: the "
                    "critic's view of the source counts, too, at twice its work; for prompts. reconstruction: "
                    "pictures stay near the source's; for domains. none: fastest.",
                ),
                io.Float.Input(
                    "regulariser_weight",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.0001,
                    tooltip="Strength of the regulariser beside the critic; 1 is usual for faces, 0.5 for "
                    "animals. Without effect for none.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=False,
                    tooltip="The same seed gives the same adaptation.",
                ),
                io.String.Input(
                    "save_name",
                    default="my adapted generator",
                    tooltip="Name of the file in output/generators, without folders.",
                ),
                io.Combo.Input(
                    "on_existing",
                    options=["resume", "new version"],
                    default="resume",
                    tooltip="Where an adaptation of this name exists: go on with it, or begin anew as name-2.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=256,
                    optional=True,
                    advanced=True,
                    tooltip="Pictures a step. Steadier steps for as much more memory and time.",
                ),
                io.Int.Input(
                    "accumulation",
                    default=1,
                    min=1,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Batches a step: a larger batch at no more memory, in more time.",
                ),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=2048,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Pixels of a side at which the critic looks; pictures are resized. 0: 512 for SD 1 "
                    "and 2, else 1024. Lower takes less memory.",
                ),
                io.Float.Input(
                    "noise_low",
                    default=0.01,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Least noise under which the critic looks, as a share of its noise levels. Low noise "
                    "decides on details.",
                ),
                io.Float.Input(
                    "noise_high",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Most noise under which the critic looks, as a share of its noise levels. High noise "
                    "decides on shape; 0.3 keeps the source's.",
                ),
                io.Combo.Input(
                    "score",
                    options=["sds", "likelihood"],
                    default="sds",
                    optional=True,
                    advanced=True,
                    tooltip="sds: the paper's. likelihood: leaves the drawn noise in, which needs a small cfg, "
                    "about 7.5.",
                ),
                io.Float.Input(
                    "percentile",
                    default=0.95,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    round=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Share of a picture's gradient that is not clipped; the strongest rest is cut down to "
                    "it. 1 clips nothing, usual for EG3D.",
                ),
                io.Boolean.Input(
                    "unit_directional",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Both views of the directional regulariser are scaled to the same size first, which "
                    "makes it independent of cfg.",
                ),
                io.Float.Input(
                    "relative_distance",
                    default=0.0,
                    min=0.0,
                    max=100_000.0,
                    step=1.0,
                    round=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Weight that keeps pictures as different from each other as the source's are; needs a "
                    "batch_size of at least 3. 0 is off.",
                ),
                io.Float.Input(
                    "perceptual",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Weight of the LPIPS distance to the source's pictures; needs the package lpips and "
                    "VGG's weights on disk. 0 is off.",
                ),
                io.Int.Input(
                    "layers",
                    default=0,
                    min=0,
                    max=18,
                    optional=True,
                    advanced=True,
                    tooltip="How many of the generator's layers are trained, those that the critic would move "
                    "most. 0: all convolutions.",
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
                    tooltip="Of the latents trained on: 1 is all of the generator's variety, less keeps to "
                    "typical pictures.",
                ),
                io.Boolean.Input(
                    "average",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Keeps the moving average of the weights instead of the last ones: smoother, and "
                    "slower to change.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["fp32", "bf16", "fp16"],
                    default="fp32",
                    optional=True,
                    advanced=True,
                    tooltip="Of the generator's arithmetic; bf16 and fp16 save memory and time on a GPU. The "
                    "critic keeps its own.",
                ),
                io.Int.Input(
                    "preview_every",
                    default=25,
                    min=0,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Steps between two preview pictures, source above adapted; 0 for none.",
                ),
                io.Int.Input(
                    "checkpoint_every",
                    default=250,
                    min=0,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Steps between two saves of the state. A Cancel saves too; this is for a crash of the "
                    "machine.",
                ),
            ],
            outputs=[
                GeneratorIO.Output(
                    display_name="adapted", tooltip="Read from the saved file. Connect it to Sample Generator."
                ),
                io.Image.Output(
                    display_name="before_after",
                    tooltip="Fixed seeds: the source's pictures above the adapted generator's.",
                ),
                io.Image.Output(
                    display_name="curves",
                    tooltip="How far each step's pictures were from what the critic would make of them.",
                ),
                io.String.Output(
                    display_name="file_name", tooltip="Of the result, in output/generators, as Load Generator lists it."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
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
        score="sds",
        percentile=0.95,
        unit_directional=False,
        relative_distance=0.0,
        perceptual=0.0,
        layers=0,
        truncation=1.0,
        average=False,
        precision="fp32",
        preview_every=25,
        checkpoint_every=250,
    ) -> io.NodeOutput:
        distillation = Distillation(
            noise=NoiseRange(noise_low, noise_high),
            score=score,
            percentile=percentile,
            unit_directional=unit_directional,
            relative_distance=relative_distance,
            directional=regulariser_weight if regulariser == DIRECTIONAL else 0.0,
            reconstruction=regulariser_weight if regulariser == RECONSTRUCTION else 0.0,
        )
        settings = AdaptationSettings(
            steps=steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            accumulation=accumulation,
            precision=precision,
            truncation=truncation,
            average=average,
            layers=layers,
            perceptual=perceptual,
            distillation=distillation,
            seed=seed,
            sample_every=preview_every,
            checkpoint_every=checkpoint_every,
        )
        request = AdaptRequest(positive, negative, cfg, resolution, save_name, on_existing, settings)
        adapted = adapt_in_host(generator, model, vae, request, AdaptationProgress(line_at(cls.hidden.unique_id)))
        return io.NodeOutput(adapted.generator, as_image(adapted.comparison), as_image(adapted.curves), adapted.file)
