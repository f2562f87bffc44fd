"""Adapting a generator inside a running graph: the library's one loop within one sampling run of the critic."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

import comfy.samplers
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image

from ....domain_guidance.adaptation import AdaptationSettings, AdaptedPair, adapt_generator, find_perceptual
from ....domain_guidance.distillation import Distillation
from ....domain_guidance.generators import Eg3dConfig, GeneratorConfig, GeneratorFile, read_generator_file
from ....domain_guidance.runs import Finished, RunFiles
from ....domain_guidance.runs.run_files import OnExisting
from ..free_names import claimed_name
from ..out_of_memory import out_of_memory
from ..run_progress import follow, kept
from ..training.train import native_resolution
from .adaptation_memory import adaptation_memory
from .critic import HostCritic, check_critic, check_prompts
from .critic_identity import critic_identity
from .differentiable_vae import DifferentiableVae, check_vae
from .folders import FOLDER, output_folder
from .progress import AdaptationProgress
from .sampler import Predict, inside_sampler


@dataclass(frozen=True)
class AdaptRequest:
    """What the node was asked for beside generator, model and VAE.

    positive, negative: host conditioning. resolution: of the critic's view, 0 for the model's own; that of the settings
    is not read.
    on_existing: 'resume' or 'new version'. preset: the choice that the settings came from, for the card.
    """

    positive: list
    negative: list
    cfg: float
    resolution: int
    save_name: str
    on_existing: OnExisting
    settings: AdaptationSettings
    preset: str = "own"


@dataclass(frozen=True)
class Adapted:
    """What an adaptation hands to the node's outputs.

    generator: read from the saved file. comparison: source above adapted pictures. curves: of the loss. file: its name
    in the list.
    """

    generator: GeneratorFile
    comparison: Image.Image
    curves: Image.Image
    file: str


def adapt_in_host(
    generator: GeneratorFile,
    model: ModelPatcher,
    vae: comfy.sd.VAE,
    request: AdaptRequest,
    progress: AdaptationProgress,
) -> Adapted:
    """Adapts, or goes on adapting.

    Raises ValueError, one sentence; whatever ends it, the state stays, and what was given is unchanged.
    """
    check_critic(model)
    check_prompts(request.positive, request.negative)
    check_vae(vae, model.model.latent_format.latent_channels)
    request = replace(request, settings=_at_resolution(request, model, vae, generator.card.config))
    with claimed_name(FOLDER, output_folder(), request.save_name, request.on_existing) as files:
        return _adapted_into(files, generator, model, vae, request, progress)


def _adapted_into(
    files: RunFiles,
    generator: GeneratorFile,
    model: ModelPatcher,
    vae: comfy.sd.VAE,
    request: AdaptRequest,
    progress: AdaptationProgress,
) -> Adapted:
    too_little = out_of_memory(
        lambda: (
            f"The device ran out of memory after step {progress.step}: lower batch_size and raise accumulation by "
            f"the same factor, or start a new version with the precision bf16 or a lower resolution; {kept(files)}."
        )
    )
    finished = None
    try:
        with too_little:
            finished = _adapted(generator, model, vae, request, files, progress)
            with torch.inference_mode(False):
                result = Adapted(
                    read_generator_file(files.result), progress.comparison(), progress.curves(), files.result.name
                )
        progress.done(
            "adaptation",
            files,
            "Connect adapted to Sample Generator, or load the file later with Load Generator "
            "(press R if its list lacks the file).",
        )
        return result
    finally:  # a Cancel is no Exception
        if finished is None and progress.step:
            progress.stopped("adaptation", kept(files))


def _adapted(generator, model, vae, request: AdaptRequest, files: RunFiles, progress: AdaptationProgress) -> Finished:
    settings, seen = request.settings, request.settings.distillation
    identity = critic_identity(model, vae, request.positive, request.negative, request.cfg)
    with torch.inference_mode(False):
        perceptual = find_perceptual(model.load_device) if settings.perceptual else None
        own_vae = DifferentiableVae(vae)

    def work(guider: comfy.samplers.CFGGuider, predict: Predict) -> Finished:
        critic = HostCritic(guider, predict, own_vae, identity)
        pair = AdaptedPair(generator, critic.device)
        pair.notes["preset"] = request.preset
        with closing(adapt_generator(pair, critic, settings, files, perceptual=perceptual)) as events:
            progress.begin(pair, files, settings, judges=_size(guider.model_patcher))
            return follow(events, progress)

    side = seen.resolution // vae.spacial_compression_encode()
    judged = settings.batch_size * (2 if seen.directional else 1)
    return inside_sampler(
        model,
        own_vae,
        request.positive,
        request.negative,
        cfg=request.cfg,
        sigmas=_levels(model, seen),
        seed=settings.seed,
        work=work,
        shape=(judged, model.model.latent_format.latent_channels, side, side),
        room=adaptation_memory(generator, own_vae, settings),
    )


def _at_resolution(
    request: AdaptRequest, model: ModelPatcher, vae: comfy.sd.VAE, config: GeneratorConfig | Eg3dConfig
) -> AdaptationSettings:
    cell = vae.spacial_compression_encode()
    # Where pixels are latents, the model is one of small pictures, and only the generator's size is known.
    resolution = request.resolution or (config.resolution if cell == 1 else native_resolution(model))
    if resolution % cell:
        raise ValueError(
            f"resolution is {resolution}, but the VAE turns blocks of {cell} pixels into one latent cell: use a "
            f"multiple of {cell}."
        )
    return replace(request.settings, distillation=replace(request.settings.distillation, resolution=resolution))


def _levels(model: ModelPatcher, distillation: Distillation) -> torch.Tensor:
    """The noise levels that the critic will be asked about, falling, and 0.

    Other nodes read them as the run's steps.
    """
    sigmas = model.get_model_object("model_sampling").sigmas.detach().float().cpu()
    first, last = distillation.noise.ends(len(sigmas))
    return torch.cat([sigmas[first : last + 1].flip(0), torch.zeros(1)])


def _size(model: ModelPatcher) -> int:
    """Bytes of a MODEL and of every model that is loaded with it."""
    return sum(patcher.model_size() for patcher in (model, *model.get_nested_additional_models()))
