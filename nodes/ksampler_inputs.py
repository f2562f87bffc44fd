"""The inputs that the sampling nodes share with KSampler."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io


def ksampler_inputs(cfg: bool = True) -> list[io.Input]:
    """KSampler's inputs in its order, without cfg if asked."""
    inputs = [
        io.Model.Input(
            "model", tooltip="The model with Apply Domain Guidance on it, as you would connect it to KSampler."
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of the noise; the same seed gives the same image as in KSampler.",
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Number of sampling steps."),
        io.Float.Input(
            "cfg",
            default=4.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="How strongly the prompt pulls. With domain guidance, 3 to 4 is usual.",
        ),
        io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="The sampling method."),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            tooltip="How the noise levels are spread over the steps.",
        ),
        io.Conditioning.Input("positive", tooltip="The prompt."),
        io.Conditioning.Input("negative", tooltip="The negative prompt; leave it empty if you can."),
        io.Latent.Input("latent_image", tooltip="The latent to denoise; an empty one for a new image."),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Amount of denoising: 1 for a new image, less to keep more of latent_image.",
        ),
    ]
    return [entry for entry in inputs if cfg or entry.id != "cfg"]
