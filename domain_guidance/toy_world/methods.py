"""The methods side by side: what each needs, how it guides, and the weights it is searched over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.parameterization import Prediction
from ..guidance import GuidedDenoiser, Projection, SigmaInterval, Term, compose
from ..side_networks import SideGuidedDenoiser, SideNetwork

Weights = Mapping[str, float]

# Where digits and plates are decided (our choice; the idea: arXiv 2404.07724).
MIDDLE = SigmaInterval(start=6.0, end=0.3)
ORTHOGONAL = Projection(parallel=0.0)  # arXiv 2410.02416
# As many settings for every method, so that none is chosen from more noise.
CFGS: Sequence[Weights] = [{"cfg": cfg} for cfg in (1.5, 2.0, 3.0, 4.0)]
BOTH: Sequence[Weights] = [
    {"cfg": cfg, "weight": weight} for cfg, weight in ((3.0, 1.5), (4.0, 1.0), (4.0, 1.5), (4.0, 2.0))
]


class Models(Protocol):
    """Denoisers by name, `base` and forms of training, that read a small world's prompts.

    side: the side network, where one is compared. prediction: what the base's network puts out.
    """

    @property
    def models(self) -> Mapping[str, Denoiser[Tensor]]: ...

    @property
    def side(self) -> SideNetwork | None: ...

    @property
    def prediction(self) -> Prediction: ...

    @property
    def empty(self) -> Tensor:
        """The empty prompt, [1, T, D]."""
        ...


@dataclass(frozen=True)
class Method:
    """A way to guide, with the grid of weights that it is searched over.

    needs: the trained models that it takes. build: called as `build(models, **weights)`.
    """

    title: str
    needs: tuple[str, ...]
    build: Callable[..., Denoiser[Tensor]]
    grid: Sequence[Weights]


def contrast(
    world: Models,
    cfg: float,
    *,
    of: str,
    against: str,
    asked: bool = False,
    projection: Projection | None = None,
    interval: SigmaInterval = SigmaInterval(),
) -> Denoiser[Tensor]:
    """Guide one model away from another: e_against + cfg [e_of(c) - e_against].

    asked: whether e_against reads the prompt as well, and not the empty one. Of one model against itself this is
    classifier-free guidance, of a fine-tune against the base DoG (ICLR 2025), and against a weaker version of itself,
    both asked, AutoGuidance (Karras et al. 2024, arXiv 2406.02507). Outside the interval it is e_of(c) alone.
    """
    guide, reference = world.models[of], world.models[against]

    def denoise(x: Tensor, sigma: Tensor, prompt: Tensor) -> Tensor:
        wanted = guide(x, sigma, prompt)
        if float(sigma.max()) not in interval:
            return wanted
        start = reference(x, sigma, prompt if asked else world.empty)
        if projection is None:
            return compose(start, [Term(wanted, start, cfg)])
        # Sadat et al. start from the asked prediction, so that what is projected away is not part of the picture
        # itself.
        return compose(wanted, [Term(wanted, start, cfg - 1, projection=projection)])

    return denoise


def decoupled(
    world: Models, cfg: float, weight: float, *, domain: str = "text-free", **options: Any
) -> Denoiser[Tensor]:
    """Guide as this library does (arXiv 2312.08195). options: interval and projection of the domain term."""
    return GuidedDenoiser(world.models["base"], world.models[domain], world.empty, world.empty, weight, cfg, **options)


def beside(world: Models, cfg: float, weight: float, *, reads_prompt: bool = False) -> Denoiser[Tensor]:
    """Guide by the side network, which corrects the base's answer to the empty prompt, or to the prompt itself.

    Raises ValueError where the world has none.
    """
    if world.side is None:
        raise ValueError("This world has no side network: train one, or compare other methods.")
    return SideGuidedDenoiser(
        world.models["base"], world.side, world.prediction, world.empty, weight, cfg, reads_prompt=reads_prompt
    )


def _own(title: str, model: str, **options: Any) -> Method:
    return Method(
        title, () if model == "base" else (model,), partial(contrast, of=model, against=model, **options), CFGS
    )


def _decoupled(title: str, domain: str = "text-free", **options: Any) -> Method:
    return Method(title, (domain,), partial(decoupled, domain=domain, **options), BOTH)


METHODS: Mapping[str, Method] = {
    "base": _own("base, its own CFG", "base"),
    "fine-tune": _own("fine-tune, its own CFG", "empty-prompt"),
    "fine-tune, interval": _own("fine-tune, CFG in an interval", "empty-prompt", interval=MIDDLE),
    "fine-tune, projected": _own("fine-tune, projected CFG (APG)", "empty-prompt", projection=ORTHOGONAL),
    "LoRA": _own("LoRA, its own CFG", "adapter"),
    "AutoGuidance": Method(
        "fine-tune against a weak one (AutoGuidance)",
        ("empty-prompt", "weak"),
        partial(contrast, of="empty-prompt", against="weak", asked=True),
        CFGS,
    ),
    "DoG": Method(
        "fine-tune against the base (DoG)",
        ("empty-prompt",),
        partial(contrast, of="empty-prompt", against="base"),
        CFGS,
    ),
    "decoupled": _decoupled("decoupled, text-free domain"),
    "decoupled, empty prompt": _decoupled("decoupled, the fine-tune as domain", "empty-prompt"),
    "decoupled, adapter": _decoupled("decoupled, the LoRA as domain", "adapter"),
    "side network": Method("decoupled, side network", ("side-network",), beside, BOTH),
    "decoupled, interval": _decoupled("decoupled, domain in an interval", interval=MIDDLE),
    "decoupled, projected": _decoupled("decoupled, domain projected (APG)", projection=ORTHOGONAL),
}
