"""Domain training inside a running graph: the library's one loop, the host's progress bar, Cancel and memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import comfy.model_management
import comfy.sd
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image

from ....domain_guidance.data import CachedLatents, Encoded, ImageSource, LatentCache, Size, Skipped, aspect_buckets
from ....domain_guidance.domains.training_forms import ADAPTER, SIDE_NETWORK
from ....domain_guidance.runs import Finished, RunFiles
from ....domain_guidance.runs.run_files import OnExisting
from ....domain_guidance.training import RunSettings, train_domain
from ..domains.empty_prompt import with_guidance
from ..domains.load_adapter import read_domain_adapter
from ..domains.load_domain import read_domain_unet
from ..domains.side_network import FOLDER as SIDE_NETWORKS
from ..domains.side_network import read_side_network
from ..free_names import claimed_name
from ..out_of_memory import out_of_memory
from ..run_progress import follow, kept
from .forms import Prepared, check_trainable, made_trainable, model_name, prepared
from .progress import TrainingProgress
from .side_form import check_answers, made_side_trainable
from .trainable import HostTrainable
from .vae_posterior import Posteriors

# Where the loaders look, below the output folder.
FOLDERS = {ADAPTER: "loras", SIDE_NETWORK: SIDE_NETWORKS}
FULL_FOLDER = "diffusion_models"
LOADERS = {ADAPTER: "Load Domain Adapter", SIDE_NETWORK: "Load Side Network"}
FULL_LOADER = "Load Domain UNet"
STEP = 64  # pixels; one cell of the deepest level of Stable Diffusion's UNets
PROBE_SIDE = 256  # pixels of the blank picture that a network is tried on


@dataclass(frozen=True)
class TrainRequest:
    """What the node was asked for beside model, VAE, prompt and images.

    resolution: 0 for the model's own. on_existing: 'resume' or 'new version'. save_memory: gradient checkpointing.
    preset: the choice that the settings came from, for the card.
    """

    form: str
    rank: int
    resolution: int
    save_name: str
    on_existing: OnExisting
    save_memory: bool
    settings: RunSettings
    preset: str = "own"


@dataclass(frozen=True)
class Trained:
    """What a training hands to the node's outputs.

    model: loaded from the saved file. curves: of the losses. file: its name in the loaders' lists.
    """

    model: ModelPatcher
    curves: Image.Image
    file: str


def train_in_host(
    model: ModelPatcher,
    vae: comfy.sd.VAE,
    empty: list,
    source: ImageSource,
    request: TrainRequest,
    progress: TrainingProgress,
) -> Trained:
    """Trains, or goes on training, and loads the result.

    Raises ValueError, one sentence; whatever ends it, the state stays.
    """
    check_trainable(model, request.form, request.settings.eight_bit_adam)
    empty = with_guidance(empty, model, default=True)
    folder = FOLDERS.get(request.form, FULL_FOLDER)
    output = os.path.join(folder_paths.get_output_directory(), folder)
    posteriors, resolution = Posteriors(vae), request.resolution or native_resolution(model)
    check_vae(model, vae)
    with claimed_name(folder, output, request.save_name, request.on_existing) as files, torch.inference_mode(False):
        ready = _prepared(model, empty, posteriors.cell, resolution, request)
        latents = _encoded(posteriors, source, resolution, progress)
        finished = _trained(model, vae, empty, latents, posteriors, files, request, progress, ready)
    trained = Trained(_loaded(model, files, request.form), progress.curves(), files.result.name)
    progress.done("training", files, _next(request.form, finished))
    return trained


def native_resolution(model: ModelPatcher) -> int:
    """512 for the families of SD 1 and 2, told by their text width, 1024 for all later ones (our choice)."""
    return 512 if model.model.model_config.unet_config.get("context_dim") in (768, 1024) else 1024


def check_vae(model: ModelPatcher, vae: comfy.sd.VAE) -> None:
    """Raises ValueError for the VAE of another family."""
    expected, found = model.model.latent_format.latent_channels, vae.latent_channels
    if found != expected:
        raise ValueError(
            f"The VAE makes latents with {found} channels, but the model expects {expected}: connect the VAE that "
            "belongs to the model."
        )


def _prepared(model, empty, cell: int, resolution: int, request: TrainRequest) -> Prepared | None:
    """The network after a first small step; None for the form that sends no gradient through it."""
    side = max(cell, min(PROBE_SIDE, resolution) // cell * cell)
    size, form = Size(side, side), request.form
    smaller = {SIDE_NETWORK: "", ADAPTER: "train the form 'side-network', or "}.get(
        form, "train the form 'adapter' or 'side-network', or "
    )
    with out_of_memory(
        lambda: (
            f"The device ran out of memory in a first small step, before any image was encoded: {smaller}load the "
            "model with weight_dtype fp8_e4m3fn."
        )
    ):
        if form == SIDE_NETWORK:
            return check_answers(model, empty, cell, size)
        settings = {"rank": request.rank, "seed": request.settings.seed, "save_memory": request.save_memory}
        return prepared(model, empty, cell, size, form=form, **settings)


def _encoded(posteriors: Posteriors, source: ImageSource, resolution: int, progress: TrainingProgress) -> CachedLatents:
    """The images' latents, from the cache that all trainings share."""
    cache = LatentCache(
        os.path.join(folder_paths.get_user_directory(), "domain_guidance", "latents"),
        source,
        posteriors.encode,
        vae=posteriors.fingerprint,
        bucket_of=aspect_buckets(resolution, step=min(STEP, resolution)),
        cell=posteriors.cell,
    )
    with out_of_memory(
        lambda: (
            f"The device ran out of memory while the VAE encoded images at resolution {resolution}: lower "
            "resolution, or close other programs that use the device; images encoded so far are kept."
        )
    ):
        _follow_encoding(cache.fill(posteriors.batch_size(resolution**2)), progress)
    return cache.open()


def _follow_encoding(events: Iterator[Encoded | Skipped], progress: TrainingProgress) -> None:
    try:
        for event in events:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if isinstance(event, Encoded):
                progress.encoded(event)
            else:
                progress.left_out(event.name, event.reason)
    except comfy.model_management.InterruptProcessingException:
        progress.encoding_stopped()
        raise


def _trained(
    model,
    vae,
    empty,
    latents,
    posteriors,
    files: RunFiles,
    request: TrainRequest,
    progress: TrainingProgress,
    ready: Prepared | None,
) -> Finished:
    settings = request.settings
    making = _making(model, vae, empty, latents, posteriors.cell, request, ready)
    finished = None
    first = "" if request.form == SIDE_NETWORK else "switch on gradient_checkpointing, or "
    too_little = out_of_memory(
        lambda: (
            f"The device ran out of memory after step {progress.step}: {first}lower batch_size "
            f"and raise accumulation by the same factor, or start a new version with a lower resolution; {kept(files)}."
        )
    )
    try:
        with too_little, making as trainable, closing(train_domain(trainable, latents, settings, files)) as events:
            trainable.notes["preset"] = request.preset
            progress.begin(trainable, latents, posteriors, files, settings)
            finished = follow(events, progress)
        return finished
    finally:  # a Cancel is no Exception
        if finished is None and progress.step:
            progress.stopped("training", kept(files))


def _making(
    model, vae, empty, latents, cell: int, request: TrainRequest, ready: Prepared | None
) -> AbstractContextManager[HostTrainable]:
    settings = request.settings
    if request.form == SIDE_NETWORK:
        return made_side_trainable(
            model,
            vae.patcher,
            empty,
            latents,
            cell,
            name=model_name(model),
            seed=settings.seed,
            batch_size=settings.batch_size,
        )
    return made_trainable(
        model,
        vae.patcher,
        empty,
        latents,
        cell,
        form=request.form,
        rank=request.rank,
        seed=settings.seed,
        save_memory=request.save_memory,
        eight_bit_adam=settings.eight_bit_adam,
        ready=ready,
    )


def _next(form: str, finished: Finished) -> str:
    """What to do with the domain."""
    use = (
        f"Connect domain_model to Apply Domain Guidance, or load the file later with {LOADERS.get(form, FULL_LOADER)} "
        "(press R if its list lacks the file)."
    )
    if finished.best_path is None:
        return use
    return (
        f"{use} '{finished.best_path.name}' beside it has the lowest loss on held-out images: with a few dozen images, "
        "load that one."
    )


def _loaded(model: ModelPatcher, files: RunFiles, form: str) -> ModelPatcher:
    """The domain as a MODEL, read from the file, as every later prompt will read it."""
    # By its path: a name is looked up over all of the host's folders, and the first that has it wins.
    if form == SIDE_NETWORK:
        return read_side_network(model, files.result)
    return read_domain_unet(files.result) if form != ADAPTER else read_domain_adapter(model, files.result)
