"""One small step before any image is encoded: whether the network trains at all, and what of it takes part."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import nn

from ....domain_guidance.data import Size
from .differentiable import WAYS, Way, with_gradients
from .trainable import HostTrainable

LEVELS = (0.25, 0.75)  # of the schedule; a network may route by noise level
# What a network raises that is asked for what it cannot do without more than a prompt.
HOST_ERRORS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Probe:
    """unused: names of parameters that no output depends on, for a plain prompt. way: in which the network trains."""

    unused: frozenset[str] = frozenset()
    way: Way = Way()


def probe(trainable: HostTrainable, network: nn.Module, size: Size, save_memory: bool) -> Probe:
    """Which of the trainable's parameters take part, and how the network is differentiated.

    network: what is differentiated. size: of a blank image, in pixels. Raises ValueError, one sentence, where the
    network cannot be run with a prompt alone or has no gradient.
    """
    errors = []
    for way in WAYS:
        try:
            with with_gradients(network, save_memory, way):
                return Probe(_unreached(trainable, size), way)
        except HOST_ERRORS as error:
            if comfy.model_management.is_oom(error):
                raise
            errors.append(error)
    raise refusal(errors[0]) from errors[0]


def refusal(error: Exception) -> ValueError:
    """What is said of a network that cannot be run with a prompt alone."""
    return ValueError(
        "The model cannot be trained: given only an empty prompt and a blank image, its network fails in ComfyUI "
        f"({_first_line(error)}); a model that needs more, such as a picture, a pose or a sound, can be guided with "
        "Domain Guidance Term instead."
    )


def tell(unused: frozenset[str], all_names: Iterable[object]) -> None:
    if unused:
        logging.info(
            "Domain Guidance: %d of this network's %d tensors play no part with a plain prompt (the first is '%s'); "
            "they are left unchanged.",
            len(unused),
            len(list(all_names)),
            min(unused),
        )


def _unreached(trainable: HostTrainable, size: Size) -> frozenset[str]:
    parameters = {name: p for name, p in trainable.module.named_parameters() if p.requires_grad}
    reached: set[int] = set()

    def seen(parameter: nn.Parameter) -> None:
        reached.add(id(parameter))
        parameter.grad = None

    generator = torch.Generator().manual_seed(0)
    with ExitStack() as hooks:
        for parameter in parameters.values():
            hooks.callback(parameter.register_post_accumulate_grad_hook(seen).remove)
        for level in LEVELS:
            noisy = torch.randn(1, *trainable.latent_shape(size), generator=generator).to(trainable.device)
            timestep = torch.tensor([int(level * len(trainable.schedule.sigmas))], device=trainable.device)
            trainable.predict(noisy, timestep, trainable.conditioning(1, size)).float().square().mean().backward()
    return frozenset(name for name, parameter in parameters.items() if id(parameter) not in reached)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0].rstrip(".: ")[:200]
