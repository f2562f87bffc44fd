"""The EG3D generator once more, one ray and one sample at a time, as the sheet and the papers describe it.

It reads tensors under the published names and shares no line with the library.
"""

import math

import naive_generator as naive
import torch


def under(t, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in t.items() if name.startswith(prefix)}


def planes(t, z, camera, scale=1.0):
    """[3, C, H, W] of one latent."""
    image = naive.images(under(t, "backbone."), z[None], scale * camera[None])[0]
    return image.reshape(3, -1, *image.shape[1:])


def pixel_value(plane, x, y):
    """Bilinear, zeros outside; -1 and 1 are the borders of the outer pixels."""
    _, h, w = plane.shape
    column, row = (x + 1) * w / 2 - 0.5, (y + 1) * h / 2 - 0.5
    value = torch.zeros(len(plane), dtype=plane.dtype)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < h and 0 <= j < w:
                value = value + plane[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return value


def point(t, tri, place, box, rate):
    """Raw density and colour of a point."""
    x, y, z = (float(p) * 2 / box for p in place)
    features = (pixel_value(tri[0], x, y) + pixel_value(tri[1], x, z) + pixel_value(tri[2], z, x)) / 3
    hidden = t["decoder.net.0.weight"] @ features * rate / len(features) ** 0.5 + rate * t["decoder.net.0.bias"]
    hidden = torch.log1p(torch.exp(hidden))
    raw = t["decoder.net.2.weight"] @ hidden * rate / len(hidden) ** 0.5 + rate * t["decoder.net.2.bias"]
    return raw[0], 1.002 / (1 + torch.exp(-raw[1:])) - 0.001


def direction(camera, row, column, resolution):
    matrix, (fx, _, cx, _, fy, cy, *_) = camera[:16].reshape(4, 4), camera[16:]
    x, y = ((column + 0.5) / resolution - cx) / fx, ((row + 0.5) / resolution - cy) / fy
    seen = matrix[:3, 0] * x + matrix[:3, 1] * y + matrix[:3, 2]
    return matrix[:3, 3], seen / seen.norm()


def intervals(samples):
    """Of samples (depth, raw, colour): weight, middle depth and middle colour of each interval."""
    found, left = [], 1.0
    for (d0, r0, c0), (d1, r1, c1) in zip(samples, samples[1:]):
        sigma = torch.log1p(torch.exp((r0 + r1) / 2 - 1))
        alpha = 1 - torch.exp(-sigma * (d1 - d0))
        found.append((left * alpha, (d0 + d1) / 2, (c0 + c1) / 2))
        left = left * (1 - alpha)
    return found


def importance(depths, shares, count):
    """The middles of `count` equal parts of the distribution that the widened shares are."""
    n = len(shares)
    larger = [max(shares[k - 1] if k else 0.0, shares[k] if k < n else 0.0) for k in range(n + 1)]
    wide = [(larger[k] + larger[k + 1]) / 2 + 0.01 for k in range(n)]
    found = []
    for k in range(count):
        sought = (k + 0.5) / count * sum(wide)
        for interval, share in enumerate(wide):
            if sought <= share:
                found.append(depths[interval] + (depths[interval + 1] - depths[interval]) * sought / share)
                break
            sought -= share
    return found


def pixel(t, tri, camera, row, column, *, resolution, samples, finer, near, far, box=1.0, rate=1.0):
    """Colour [C] in [0, 1], depth and opacity."""
    origin, ahead = direction(camera, row, column, resolution)

    def sample(depth):
        return (depth, *point(t, tri, origin + depth * ahead, box, rate))

    step = (far - near) / (samples - 1)  # linspace(near, far, samples), and of each step the middle
    taken = [sample(near + step * k + 0.5 * step) for k in range(samples)]
    if finer:
        shares = [float(weight) for weight, _, _ in intervals(taken)]
        taken = sorted(
            taken + [sample(depth) for depth in importance([s[0] for s in taken], shares, finer)], key=lambda s: s[0]
        )
    parts = intervals(taken)
    opacity = sum(weight for weight, _, _ in parts)
    return (
        sum(weight * colour for weight, _, colour in parts),
        sum(weight * depth for weight, depth, _ in parts) / opacity,
        opacity,
    )


def enlarged(t, features, w, noise=False, clamp=None, doublings=2):
    """Features [C, r, r] at the super-resolution's size to [3, 4r, 4r], or [3, 2r, 2r] where one block doubles."""
    x, image = features, features[:3]
    for block, doubles in (("superresolution.block0", doublings == 2), ("superresolution.block1", True)):
        x = naive.layer(t, f"{block}.conv0", x, w, clamp, noise, up=doubles)
        x = naive.layer(t, f"{block}.conv1", x, w, clamp, noise)
        if doubles:
            image = naive.filtered(naive.stuffed(image), (2, 1))
        image = image + naive.limited(naive.image_layer(t, f"{block}.torgb", x, w), clamp)
    return image
