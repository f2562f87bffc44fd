"""Train Domain: images in, a domain out, with a live curve and pictures."""

from __future__ import annotations

from typing import Literal

import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import io

from ..domain_guidance.diffusion.time_sampling import TIME_SAMPLINGS, TimeSampling
from ..domain_guidance.domains.training_forms import ADAPTER, LEARNING_RATES, TRAINING_FORMS
from ..domain_guidance.runs.process import Precision
from ..domain_guidance.training import RunSettings
from ..domain_guidance.training.presets import TRAINING_PRESETS
from .comfy_host.domains.empty_prompt import empty_prompt
from .comfy_host.input_folder import NO_FOLDER, folder_choices, folder_fingerprint, image_source
from .comfy_host.node_text import line_at, tell
from .comfy_host.training.progress import TrainingProgress
from .comfy_host.training.train import TrainRequest, train_in_host
from .finite_inputs import finite_inputs
from .input_lists import takes_lists
from .run_inputs import OWN, RunInputs, defaults_of, settled

RUN = RunInputs("training", "")


class DomainGuidanceTrain(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceTrain",
            display_name="Train Domain",
            category="domain guidance",
            description=(
                "Trains a domain from images alone, without captions. Run it again to continue after a Cancel or to "
                "train for more steps. The result appears in Load Domain Adapter, Load Side Network or Load Domain "
                "UNet, depending on the form."
            ),
            search_aliases=[
                "dataset",
                "train style",
                "style training",
                "folder of images",
                "domain guidance training",
                "train lora",
                "fine-tune",
                "text-free training",
            ],
            is_output_node=True,
            is_input_list=True,  # a list of images is one set
            not_idempotent=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="The base model to train from, straight from its loader. It is not changed."
                ),
                io.Vae.Input("vae", tooltip="The base model's VAE."),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The base model's text encoder, used only to encode the empty prompt.",
                ),
                io.Conditioning.Input(
                    "empty_conditioning",
                    optional=True,
                    tooltip="Instead of clip: the encoded empty prompt (CLIP Text Encode with no text).",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The domain's images, as a batch or a list. For many images use folder.",
                ),
                io.Combo.Input(
                    "folder",
                    options=folder_choices(),
                    default=NO_FOLDER,
                    optional=True,
                    tooltip="A sub-folder of ComfyUI's input folder, including its own sub-folders, used instead of "
                    "connected images. If a new folder is missing from the list, press R.",
                ),
                io.Combo.Input(
                    "form",
                    options=list(TRAINING_FORMS),
                    default=ADAPTER,
                    tooltip="adapter: a LoRA; small, fits a 12 GB card, works on merges of the base. text-free: the "
                    "whole UNet without its text input, as in the paper. empty-prompt: the whole network with the "
                    "empty prompt, also for SD3 and Flux. side-network: a few MB that correct what the base answers; "
                    "no gradient passes through the base, and no second model is evaluated when drawing.",
                ),
                RUN.steps(),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.000001,
                    round=0.00000001,
                    advanced=True,
                    tooltip="Size of each optimiser step. 0 uses the form's default: 0.0001 for an adapter, 0.001 for "
                    "a side network, 0.00001 for a whole network.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=1024,
                    advanced=True,
                    tooltip="Images per step. Memory use grows with it.",
                ),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=1024,
                    advanced=True,
                    tooltip="Rank, and so the size, of the adapter. Ignored by the other forms.",
                ),
                RUN.seed(),
                RUN.save_name("my domain"),
                RUN.on_existing(),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    optional=True,
                    advanced=True,
                    tooltip="Images are resized to about this many pixels squared, in buckets by aspect ratio. 0: "
                    "512 for SD 1 and 2, 1024 for later models.",
                ),
                RUN.accumulation(),
                io.Combo.Input(
                    "precision",
                    options=["auto", "bf16", "fp16", "fp32"],
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Number format of the computation; the trained weights stay in fp32. auto: bf16 if the "
                    "GPU supports it, otherwise fp16; fp32 on a CPU.",
                ),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Computes every block twice, which takes longer but needs far less memory. A side-network "
                    "does not need it.",
                ),
                io.Boolean.Input(
                    "eight_bit_adam",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Keeps the optimiser's state in 8 bits to save memory; needs the Python package "
                    "bitsandbytes.",
                ),
                io.Int.Input(
                    "warmup",
                    default=0,
                    min=0,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Number of steps over which the learning rate rises from 0.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=["constant", "cosine"],
                    default="constant",
                    optional=True,
                    advanced=True,
                    tooltip="The learning rate after the warm-up: constant, or falling along a cosine.",
                ),
                io.Float.Input(
                    "mirror",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Share of images that are shown mirrored (0 to 1). Use 0 for text, logos and other "
                    "subjects with a left and a right.",
                ),
                io.Float.Input(
                    "min_snr",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    optional=True,
                    advanced=True,
                    tooltip="Cap of the signal-to-noise weight on the loss (min-SNR); 5 is usual, 0 is the plain loss.",
                ),
                RUN.preview_every(100, "preview images"),
                io.Int.Input(
                    "evaluate_every",
                    default=250,
                    min=0,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Steps between measurements on held-out images, by which the best file is chosen; 0 "
                    "turns them off. With a few dozen images use 50 or less.",
                ),
                RUN.checkpoint_every(),
                io.Combo.Input(
                    "time_sampling",
                    options=["auto", *TIME_SAMPLINGS],
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="How often each noise level is trained. auto: logit-normal for flow models (SD3, Flux, "
                    "Qwen-Image, Z-Image, Wan), log-normal for CosXL, uniform for all others and for a side-network.",
                ),
                RUN.preset(
                    TRAINING_PRESETS,
                    "A longer one continues a shorter one. learning_rate and resolution are not changed; at 0 they "
                    "follow the form and the model.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="domain_model",
                    tooltip="The domain, read from the saved file. Connect it to Apply Domain Guidance.",
                ),
                io.Image.Output(
                    display_name="curves", tooltip="The losses: of each step, and on training and held-out images."
                ),
                io.String.Output(
                    display_name="file_name",
                    tooltip="Name of the saved file: in output/loras for an adapter, in output/side_networks for a "
                    "side network, otherwise in output/diffusion_models.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @takes_lists("images")
    def fingerprint_inputs(cls, folder: str = NO_FOLDER, **_) -> str:
        return folder_fingerprint(folder)

    @classmethod
    @finite_inputs
    @takes_lists("images")
    def execute(
        cls,
        model,
        vae,
        form,
        steps,
        learning_rate,
        batch_size,
        rank,
        seed,
        save_name,
        on_existing,
        clip=None,
        empty_conditioning=None,
        images=None,
        folder=NO_FOLDER,
        resolution=0,
        accumulation=1,
        precision: Precision | Literal["auto"] = "auto",
        gradient_checkpointing=True,
        eight_bit_adam=False,
        warmup=0,
        schedule="constant",
        mirror=0.5,
        min_snr=0.0,
        preview_every=100,
        evaluate_every=250,
        checkpoint_every=250,
        time_sampling: TimeSampling | Literal["auto"] = "auto",
        preset=OWN,
    ) -> io.NodeOutput:
        on_node = {
            "steps": steps,
            "batch_size": batch_size,
            "accumulation": accumulation,
            "evaluate_every": evaluate_every,
            "preview_every": preview_every,
        }
        numbers, said = settled(preset, TRAINING_PRESETS, on_node, defaults_of(cls, on_node))
        settings = RunSettings(
            steps=numbers["steps"],
            learning_rate=learning_rate or LEARNING_RATES[form],
            batch_size=numbers["batch_size"],
            accumulation=numbers["accumulation"],
            precision=_precision(precision),
            seed=seed,
            warmup=warmup,
            cosine=schedule == "cosine",
            mirror=mirror,
            min_snr=min_snr,
            eight_bit_adam=eight_bit_adam,
            sample_every=numbers["preview_every"],
            evaluate_every=numbers["evaluate_every"],
            checkpoint_every=checkpoint_every,
            time_sampling=time_sampling,
        )
        request = TrainRequest(form, rank, resolution, save_name, on_existing, gradient_checkpointing, settings, preset)
        say = line_at(cls.hidden.unique_id)
        if said:
            tell(say, said)
        source, progress = image_source(images, folder, "Train Domain", say=say), TrainingProgress(say)
        trained = train_in_host(model, vae, empty_prompt(clip, empty_conditioning), source, request, progress)
        curves = torch.from_numpy(np.asarray(trained.curves, dtype=np.float32) / 255)[None]
        return io.NodeOutput(trained.model, curves, trained.file)


def _precision(chosen: Precision | Literal["auto"]) -> Precision:
    if chosen != "auto":
        return chosen
    device = comfy.model_management.get_torch_device()
    if comfy.model_management.is_device_cpu(device):
        return "fp32"
    return "bf16" if comfy.model_management.should_use_bf16(device) else "fp16"
