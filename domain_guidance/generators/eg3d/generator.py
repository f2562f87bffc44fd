"""The EG3D generator (arXiv 2112.07945) in plain PyTorch: planes by a StyleGAN2, rendered, then enlarged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..stylegan2 import Generator, Mapping, Noise
from ..styles import per_layer
from .camera import cameras
from .decoder import Decoder
from .layout import PLANES, Eg3dConfig, Rendering
from .rays import rays
from .renderer import RAYS, Field, render
from .superresolution import SuperResolution
from .triplane import plane_features


@dataclass(frozen=True)
class View:
    """What cameras see of a volume.

    image: [N, 3, R, R], nominally in [-1, 1]. raw: the small image before the super-resolution, [N, 3, r, r], likewise.
    depth: [N, 1, r, r], the distance from the camera along each ray. opacity: [N, 1, r, r], 0 to 1.
    """

    image: Tensor
    raw: Tensor
    depth: Tensor
    opacity: Tensor


class Eg3dGenerator(nn.Module):
    """Latents and cameras to images.

    Where no camera is given it is the one in front, so that it can be used as a StyleGAN2 is.

    rays_at_once bounds the memory of the rendering, `sampling` draws where along the rays samples lie: see
    `renderer.render`.
    """

    def __init__(self, config: Eg3dConfig):
        super().__init__()
        self.config = config
        self.backbone = Generator(config.backbone)
        self.superresolution = SuperResolution(config)
        self.decoder = Decoder(config.features, config.decoder_width, config.decoder_rate)

    @property
    def mapping(self) -> Mapping:
        return self.backbone.mapping

    def cameras(self, poses: Tensor | None = None) -> Tensor:
        """Cameras [N, 25] of poses [N, 2], see `camera.cameras`, at what this generator's look at.

        Without poses the one in front.
        """
        mean = self.mapping.w_avg
        poses = mean.new_zeros(1, 2) if poses is None else poses.to(mean)
        return cameras(poses, radius=self.config.radius, pivot=self.config.pivot)

    def styles(
        self, z: Tensor, conditioning: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """Truncated styles [N, L, w_dim] of latents z [N, z_dim].

        conditioning: cameras [N, 25] that the mapping reads. What it reads changes the person a little, so for several
        views it has to be one for all (section 4.4); the one in front [choice].
        """
        labels = self.cameras() if conditioning is None else conditioning
        return self.backbone.styles(z, self.config.camera_scale * labels.expand(len(z), -1), psi=psi, cutoff=cutoff)

    def planes(
        self,
        ws: Tensor,
        *,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The planes [N, 3, C, H, W] of styles; see `stylegan2.Synthesis`."""
        return self.backbone.synthesis(ws, noise=noise, generator=generator, dtype=dtype).unflatten(1, (PLANES, -1))

    def field(self, planes: Tensor, box: float | None = None) -> Field:
        """Points [N, P, 3] to raw densities [N, P] and colours [N, P, C]; see `Decoder`."""
        return lambda points: self.decoder(plane_features(planes, points, box or self.config.rendering.box))

    def view(
        self,
        planes: Tensor,
        ws: Tensor,
        cameras: Tensor,
        *,
        rendering: Rendering | None = None,
        sampling: torch.Generator | None = None,
        generator: torch.Generator | None = None,
        rays_at_once: int = RAYS,
        dtype: torch.dtype | None = None,
    ) -> View:
        """What cameras [N, 25] see of planes [N, 3, C, H, W]. ws: their styles. rendering: other than the file's."""
        rendering = rendering or self.config.rendering
        side = rendering.resolution
        seen = render(
            self.field(planes, rendering.box),
            *rays(cameras.to(planes), side),
            rendering,
            generator=sampling,
            rays_at_once=rays_at_once,
        )
        background = (1 - seen.opacity)[..., None] if rendering.white else 0.0
        features = (2 * (seen.colour + background) - 1).transpose(1, 2).unflatten(2, (side, side))
        w = per_layer(ws, self.config.style_count)[:, -1]
        image = self.superresolution(
            features, w, noise=self.config.superresolution_noise, generator=generator, dtype=dtype
        )
        depth, opacity = (x.unflatten(1, (1, side, side)) for x in (seen.depth, seen.opacity))
        return View(image, features[:, :3], depth, opacity)

    def views(
        self, ws: Tensor, cameras: Tensor, *, noise: Noise = "const", dtype: torch.dtype | None = None, **options
    ) -> Iterator[View]:
        """Draw one image's styles [1, L, w_dim] as seen by each of the cameras [N, 25] in turn.

        The planes are made once. options: see `view`.
        """
        planes = self.planes(ws, noise=noise, generator=options.get("generator"), dtype=dtype)
        for camera in cameras:
            yield self.view(planes, ws, camera[None], dtype=dtype, **options)

    def synthesis(
        self,
        ws: Tensor,
        cameras: Tensor | None = None,
        *,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        **options,
    ) -> Tensor:
        """Styles [N, L, w_dim] or [N, w_dim], seen by cameras [N, 25], to images [N, 3, R, R]. options: see `view`."""
        planes = self.planes(ws, noise=noise, generator=generator, dtype=dtype)
        seen_by = (self.cameras() if cameras is None else cameras).expand(len(ws), -1)
        return self.view(planes, ws, seen_by, generator=generator, dtype=dtype, **options).image

    def forward(
        self, z: Tensor, cameras: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None, **options
    ) -> Tensor:
        """Images [N, 3, R, R] of latents z [N, z_dim], seen by cameras [N, 25]; see `styles` and `synthesis`."""
        return self.synthesis(self.styles(z, psi=psi, cutoff=cutoff), cameras, **options)
