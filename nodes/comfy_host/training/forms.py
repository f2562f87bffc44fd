"""The forms of training that send a gradient through the network: a copy of the user's MODEL, made ready for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from ....domain_guidance.data import CachedLatents, Size
from ....domain_guidance.domains.text_free import cross_attentions
from ....domain_guidance.domains.training_forms import ADAPTER, SIDE_NETWORK, TEXT_FREE
from ....domain_guidance.memory.estimate import check_fits, device_memory, whole_network_estimate
from ....domain_guidance.runs.optimizers import check_bitsandbytes
from ....domain_guidance.training.text_removal import domain_latents, take_text_out
from ..domains.origin import base_fingerprint, host_prefix
from ..domains.prediction import edm_levels, has_zero_terminal_snr, known_prediction, prediction_of
from ..domains.side_network import BEFORE, check_no_side
from ..guidance.terms import terms_of
from .differentiable import with_gradients
from .identity import run_identity
from .lora_layers import injected, lora_tensors, make_adapters
from .probe import Probe, probe, tell
from .result_file import ResultFile, host_weights
from .trainable import HostTrainable
from .trainable_copy import (
    WIDE_DTYPES,
    check_can_be_copied,
    check_can_be_read,
    check_image_model,
    check_wide,
    copy_of,
    load_whole,
    training_mode,
    unload_all,
)

# Of the domain, for measuring the constants of a text-free network, each at several noise levels (our choice).
CONSTANT_IMAGES = 8


class AdaptedNetwork(nn.Module):
    """A frozen network and its adapters: what a run trains, and what it needs memory for."""

    def __init__(self, network: nn.Module, adapters: dict[str, nn.Module]):
        super().__init__()
        self.network = network
        self.adapters = nn.ModuleDict({name.replace(".", "/"): adapter for name, adapter in adapters.items()})


def check_trainable(model: ModelPatcher, form: str, eight_bit_adam: bool = False) -> None:
    """Everything that can be said before any work. Raises ValueError, one sentence."""
    check_image_model(model.model)
    if terms_of(model):
        raise ValueError(
            "The model has domain guidance applied, which acts on a sampler and cannot be trained: connect the "
            "model from before Apply Domain Guidance."
        )
    check_no_side(model, BEFORE)
    known_prediction(model)
    if eight_bit_adam:
        check_bitsandbytes()
    if form == SIDE_NETWORK:  # the MODEL itself is asked, whatever it is made of
        return
    check_can_be_copied(model)
    if form != ADAPTER:
        check_wide(model, form)
        check_can_be_read(model)
        whole = whole_network_estimate(model.model.diffusion_model, eight_bit_adam=eight_bit_adam)
        check_fits(whole, device_memory(model.load_device))
    if form == TEXT_FREE:
        cross_attentions(model.model.diffusion_model)
        if model.model.latent_format.latent_dimensions != 2:
            raise ValueError(
                "The model makes video, but text can be taken out of image models only: train the form 'empty-prompt', "
                "'adapter' or 'side-network'."
            )


@dataclass(frozen=True)
class Prepared:
    """A copy of a MODEL that has made one small step. probe: what that step told."""

    copy: ModelPatcher
    probe: Probe


def prepared(
    model: ModelPatcher, empty: list, cell: int, size: Size, *, form: str, rank: int, seed: int, save_memory: bool
) -> Prepared:
    """The copy that will be trained, after a small step on a blank picture of this size in pixels.

    Call it outside inference mode, before images are encoded. Raises ValueError, one sentence, for a network that
    cannot be trained.
    """
    copy = copy_of(model)
    network = copy.model.diffusion_model
    with ExitStack() as stack:
        stack.callback(network.requires_grad_, False)
        load_whole([copy])
        adapters = make_adapters(network, rank, seed) if form == ADAPTER else {}
        network.requires_grad_(not adapters)
        stack.enter_context(injected(network, adapters))
        stack.enter_context(training_mode())
        trainable = _trainable(model, copy, adapters, empty, cell, form, rank)
        found = probe(trainable, network, size, save_memory)
        tell(found.unused, trainable.module.named_parameters())
    return Prepared(copy, found)


@contextmanager
def made_trainable(
    model: ModelPatcher,
    vae: ModelPatcher,
    empty: list,
    latents: CachedLatents,
    cell: int,
    *,
    form: str,
    rank: int,
    seed: int,
    save_memory: bool,
    eight_bit_adam: bool,
    ready: Prepared | None = None,
) -> Iterator[HostTrainable]:
    """A copy of `model` on the device, trainable in the given form until the block ends.

    Call it outside inference mode.

    vae: loaded beside it, for preview pictures. save_memory: gradient checkpointing. ready: what `prepared` gave for
    the same form, rank and seed. Raises ValueError, one sentence.
    """
    check_trainable(model, form, eight_bit_adam)
    adapter = form == ADAPTER
    if ready is None:
        size = latents.images[0].bucket
        ready = prepared(model, empty, cell, size, form=form, rank=rank, seed=seed, save_memory=save_memory)
    copy, unused = ready.copy, ready.probe.unused
    network = copy.model.diffusion_model
    with ExitStack() as stack:
        if not adapter:
            network.float()
            copy.size = 0  # the host adds it up anew
        stack.callback(unload_all)
        load_whole([copy, vae])
        network.requires_grad_(not adapter)
        adapters = _reaching(make_adapters(network, rank, seed), unused) if adapter else {}
        stack.enter_context(injected(network, adapters))
        trainable = _trainable(model, copy, adapters, empty, cell, form, rank)
        stack.enter_context(training_mode())
        if form == TEXT_FREE:
            some = domain_latents(trainable, latents, images=CONSTANT_IMAGES, at_once=1)
            stack.callback(take_text_out(trainable, some).close)
            logging.info(
                "Domain Guidance: the text input was removed; error of the constants that replace it, by layer: %s",
                trainable.notes["residuals"],
            )
        for name, parameter in network.named_parameters():
            if name in unused:
                parameter.requires_grad_(False)
        stack.enter_context(with_gradients(network, save_memory, ready.probe.way))
        yield trainable


def _reaching(adapters: dict[str, nn.Module], unused: frozenset[str]) -> dict[str, nn.Module]:
    """Those that the output depends on. unused: parameters by their names in `AdaptedNetwork`."""
    return {
        name: adapter
        for name, adapter in adapters.items()
        if not any(own.startswith(f"adapters.{name.replace('.', '/')}.") for own in unused)
    }


def _trainable(model, copy, adapters, empty, cell: int, form: str, rank: int) -> HostTrainable:
    network, sampling = copy.model.diffusion_model, copy.get_model_object("model_sampling")
    result = ResultFile(
        form=form,
        prediction=prediction_of(sampling),
        base_fingerprint=base_fingerprint(model),
        base_name=model_name(model),
        key_prefix=host_prefix(model),
        empty=empty,
        weights=_weights(model, copy, adapters),
        zero_terminal_snr=has_zero_terminal_snr(sampling),
        edm_levels=edm_levels(sampling),
    )
    identity = run_identity(model, empty, form, result.base_fingerprint, rank if adapters else 0)
    module = AdaptedNetwork(network, adapters) if adapters else network
    return HostTrainable(copy.model, sampling, module, empty, cell, identity, result)


def _weights(model: ModelPatcher, copy: ModelPatcher, adapters: dict[str, nn.Module]):
    network = copy.model.diffusion_model
    if adapters:
        return lambda: lora_tensors(network, adapters, torch.float16)
    dtype = model.model.get_dtype()
    return lambda: host_weights(
        network.state_dict(), copy.model.model_config, dtype if dtype in WIDE_DTYPES else torch.float16
    )


def model_name(model: ModelPatcher) -> str:
    """The name of the file that the MODEL was read from."""
    path = (model.cached_patcher_init or (None, ()))[1][:1]
    return (
        os.path.splitext(os.path.basename(path[0]))[0]
        if path and isinstance(path[0], str)
        else type(model.model).__name__
    )
