"""A picture's styles: those with which a generator draws something as close to it as it can.

By optimisation, as in StyleGAN2's projector (arXiv 1912.04958, appendix D), first of one style for all layers (w), then
of one for each (w+, arXiv 1904.03189). Our choice: where the paper adds noise to the style, the search begins at the
closest of some random ones, which halved the error on the toy world's pictures. The distance of two pictures needs no
other network: it compares them at every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor
from torch.nn import functional as F

from .eg3d.generator import Eg3dGenerator
from .stylegan2 import Generator
from .styles import per_layer

SPREAD_OF = 10_000  # random styles whose spread is measured
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls
COARSEST = 4  # pixels

# Pictures [1, 3, R, R], nominally in [-1, 1], to features [..., D], with a graph.
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Inversion:
    """How a picture is looked for.

    steps: of both stages together. learning_rate: Adam's largest, in units of the spread of one number of a style; the
    paper's 0.1 is about a fifth of one. per_layer: share of the steps for the second stage, one style for each layer; 0
    for none. candidates: random styles among which, and the mean, the search begins. feature_weight: of the features'
    distance, where there are features. seed: of the candidates.
    """

    steps: int = 500
    learning_rate: float = 0.2
    per_layer: float = 0.5
    candidates: int = 64
    feature_weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """The closest styles that a search has found so far.

    step: how many steps are done, 0 while candidates are looked at. ws: [1, L, w_dim], on the generator's device.
    distance: of its picture.
    """

    step: int
    distance: float
    ws: Tensor


def invert(
    generator: Generator | Eg3dGenerator,
    picture: Tensor,
    settings: Inversion,
    features: Features | None = None,
    camera: Tensor | None = None,
) -> Iterator[Found]:
    """Search for the styles of one picture [1, 3, R, R] in [-1, 1]; the last Found is the answer.

    The picture is on the generator's device. Only the styles are optimised: the noise maps stay the file's, so that the
    same styles fit an adapted generator. The same seed finds the same styles. camera: [1, 25], from which an EG3D
    generator is to look like it, the one in front where it is left out. Call it outside inference mode.
    """
    search = _Search(generator, picture, settings, features, () if camera is None else (camera,))
    yield from search.begin()
    second = round(settings.steps * settings.per_layer)
    for steps, layers in ((settings.steps - second, 1), (second, generator.config.style_count)):
        yield from search.stage(steps, layers)


def fitted(pictures: Tensor, resolution: int) -> Tensor:
    """Pictures [N, 3, H, W] cut to their central square and resized to [N, 3, resolution, resolution]."""
    side = min(pictures.shape[-2:])
    top, left = ((size - side) // 2 for size in pictures.shape[-2:])
    square = pictures[..., top : top + side, left : left + side]
    if side == resolution:
        return square
    return F.interpolate(square, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)


def picture_distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean square of the pixels' difference and the mean magnitude of each band of its Laplacian pyramid, added up.

    Both [N, 3, R, R]; a scalar. Squares and bands as in arXiv 1707.05776, section 3.2; bands weigh the same (our
    choice).
    """
    rest = first - second
    distance = rest.square().mean()
    while rest.shape[-1] > COARSEST:
        smaller = F.avg_pool2d(rest, 2)
        band = rest - F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        distance, rest = distance + band.abs().mean(), smaller
    return distance + rest.abs().mean()


class _Search:
    def __init__(
        self,
        generator: Generator | Eg3dGenerator,
        picture: Tensor,
        settings: Inversion,
        features: Features | None,
        views: tuple[Tensor, ...],
    ):
        self.generator, self.picture, self.settings, self.features = generator, picture, settings, features
        self.views = views
        self.wanted = None if features is None else features(picture).detach()
        self.step, self.distance, self.spread = 0, float("inf"), 0.0
        self.ws = torch.empty(0)  # until `begin` has looked at the first candidate

    def begin(self) -> Iterator[Found]:
        """Start from the closest of some random styles and the mean."""
        mapping, config = self.generator.mapping, self.generator.config
        z = torch.randn(SPREAD_OF, config.z_dim, generator=torch.Generator().manual_seed(self.settings.seed)).to(
            mapping.w_avg
        )
        with torch.no_grad():
            styles = torch.cat([self.generator.styles(part)[:, 0] for part in z.split(1000)])
        self.spread = float((styles - mapping.w_avg).square().mean().sqrt())
        for style in (mapping.w_avg, *styles[: self.settings.candidates]):
            with torch.no_grad():  # not around the yield, which would be around what the caller does
                self._offer(per_layer(style[None], config.style_count), float(self._distance(style[None])))
            yield Found(0, self.distance, self.ws)

    def stage(self, steps: int, layers: int) -> Iterator[Found]:
        """Descend for so many steps.

        layers: 1 to move all layers' styles together, the number of them to move each by itself.
        """
        start = self.ws
        change = torch.zeros_like(start[:, :layers]).requires_grad_()
        optimizer = torch.optim.Adam([change], lr=0.0, betas=(0.9, 0.999))
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = self.settings.learning_rate * self.spread * ramp((step + 0.5) / steps)
            self._move(start, change, optimizer)
            self.step += 1
            yield Found(self.step, self.distance, self.ws)

    def _move(self, start: Tensor, change: Tensor, optimizer: torch.optim.Optimizer) -> None:
        with torch.enable_grad():
            ws = start + change
            distance = self._distance(ws)
            (change.grad,) = torch.autograd.grad(distance, change)
        self._offer(ws.detach(), float(distance.detach()))
        optimizer.step()

    def _offer(self, ws: Tensor, distance: float) -> None:
        if distance < self.distance:
            self.ws, self.distance = ws, distance

    def _distance(self, ws: Tensor) -> Tensor:
        drawn = self.generator.synthesis(ws, *self.views)
        distance = picture_distance(drawn, self.picture)
        if self.features is None or self.wanted is None:
            return distance
        return (
            distance
            + self.settings.feature_weight * (1 - F.cosine_similarity(self.features(drawn), self.wanted, dim=-1)).mean()
        )


def ramp(share: float) -> float:
    """The factor on the learning rate after this share of the steps.

    It rises within the first twentieth and falls with a cosine in the last quarter.
    """
    down = min(1.0, (1 - share) / RAMP_DOWN)
    return (0.5 - 0.5 * cos(pi * down)) * min(1.0, share / RAMP_UP)
