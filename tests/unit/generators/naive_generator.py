"""The generator once more, as slowly and plainly as the papers describe it: one image at a time, one filter tap at a
time.

It reads tensors under NVIDIA's names, in whatever precision they have, and shares no line with the library.
"""

import torch


def images(t, z, labels=None, psi=1.0, cutoff=None, clamp=None, noise=True):
    return torch.stack([image(t, ws, clamp, noise) for ws in styles(t, z, labels, psi, cutoff)])


def pixels_of(t):
    return sorted(int(name.split(".")[1][1:]) for name in t if name.endswith("conv1.weight"))


def styles(t, z, labels=None, psi=1.0, cutoff=None):
    """[N, L, w_dim]"""
    x = z / (z**2).mean(1, keepdim=True).add(1e-8).sqrt()
    if "mapping.embed.weight" in t:
        e = labels @ t["mapping.embed.weight"].T / labels.shape[1] ** 0.5 + t["mapping.embed.bias"]
        x = torch.cat((x, e / (e**2).mean(1, keepdim=True).add(1e-8).sqrt()), 1)
    layer = 0
    while f"mapping.fc{layer}.weight" in t:
        weight = t[f"mapping.fc{layer}.weight"]
        x = lrelu(x @ (weight * 0.01 / weight.shape[1] ** 0.5).T + 0.01 * t[f"mapping.fc{layer}.bias"]) * 2**0.5
        layer += 1
    count = 2 * len(pixels_of(t))
    ws = x[:, None].repeat(1, count, 1)
    mean = t["mapping.w_avg"]
    moved = mean + psi * (ws - mean)
    keep = torch.arange(count) >= (count if cutoff is None else cutoff)
    return torch.where(keep[None, :, None], ws, moved)


def image(t, ws, clamp=None, noise=True):
    """ws [L, w_dim] to [3, R, R]"""
    x, picture = t["synthesis.b4.const"], None
    index = 0
    for r in pixels_of(t):
        if r > 4:
            x = layer(t, f"synthesis.b{r}.conv0", x, ws[index], clamp, noise, up=True)
            index += 1
        x = layer(t, f"synthesis.b{r}.conv1", x, ws[index], clamp, noise)
        index += 1
        rgb = limited(
            image_layer(t, f"synthesis.b{r}.torgb", x, ws[index]), clamp
        )  # the next block starts at this style again
        picture = rgb if picture is None else filtered(stuffed(picture), (2, 1)) + rgb
    return picture


def style_of(t, name, w):
    weight = t[f"{name}.affine.weight"]
    return weight @ w / weight.shape[1] ** 0.5 + t[f"{name}.affine.bias"]


def modulated(t, name, w):
    """The weights that this style makes, [O, I, 3, 3]."""
    weight = t[f"{name}.weight"] * style_of(t, name, w)[None, :, None, None]
    return weight / (weight**2).sum((1, 2, 3), keepdim=True).add(1e-8).sqrt()


def layer(t, name, x, w, clamp, noise, up=False):
    weight = modulated(t, name, w)
    if up:  # a transposed convolution of stride 2: every input pixel stamps the kernel at twice its place
        x = stamped(x, weight)
        x = filtered(x, (1, 1))
    else:
        x = correlated(padded(x, (1, 1)), weight)
    if noise:
        x = x + t[f"{name}.noise_strength"] * t[f"{name}.noise_const"]
    return limited(lrelu(x + t[f"{name}.bias"][:, None, None]) * 2**0.5, clamp)


def image_layer(t, name, x, w):
    style = style_of(t, name, w) / x.shape[0] ** 0.5
    weight = t[f"{name}.weight"][:, :, 0, 0] * style
    return torch.stack(
        [sum(weight[o, i] * x[i] for i in range(len(x))) + t[f"{name}.bias"][o] for o in range(len(weight))]
    )


def lrelu(x):
    return torch.where(x > 0, x, 0.2 * x)


def limited(x, clamp):
    return x if clamp is None else torch.where(x.abs() > clamp, clamp * x.sign(), x)


def padded(x, sizes):
    before, after = sizes
    c, h, w = x.shape
    result = torch.zeros(c, h + before + after, w + before + after, dtype=x.dtype)
    result[:, before : before + h, before : before + w] = x
    return result


def correlated(x, weight):
    o, i, kh, kw = weight.shape
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    taps = [
        torch.einsum("oi,ihw->ohw", weight[:, :, a, b], x[:, a : a + h, b : b + w])
        for a in range(kh)
        for b in range(kw)
    ]
    return sum(taps)


def stamped(x, weight):
    o, i, kh, kw = weight.shape
    _, h, w = x.shape
    result = torch.zeros(o, 2 * h + 1, 2 * w + 1, dtype=x.dtype)
    for a in range(kh):
        for b in range(kw):
            result[:, a : a + 2 * h : 2, b : b + 2 * w : 2] += torch.einsum("oi,ihw->ohw", weight[:, :, a, b], x)
    return result


def stuffed(x):
    c, h, w = x.shape
    result = torch.zeros(c, 2 * h, 2 * w, dtype=x.dtype)
    result[:, ::2, ::2] = x
    return result


def filtered(x, sizes):
    taps = torch.tensor([1, 3, 3, 1], dtype=x.dtype)
    kernel = torch.outer(taps, taps) / 64 * 4
    x = padded(x, sizes)
    h, w = x.shape[1] - 3, x.shape[2] - 3
    return sum(kernel[a, b] * x[:, a : a + h, b : b + w] for a in range(4) for b in range(4))
