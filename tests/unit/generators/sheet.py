"""Random weights of a small StyleGAN2, with the names and shapes of the published files written out by hand."""

import math

import torch

RESOLUTION, WIDTHS, Z, W, DEPTH, CLASSES = 32, {4: 8, 8: 8, 16: 6, 32: 4}, 10, 12, 3, 5


def nvidia_weights(classes=0, depth=DEPTH, resolution=RESOLUTION, dtype=torch.float32, seed=0):
    random = torch.Generator().manual_seed(seed)
    t = {}

    def add(name, *shape, scale=1.0, offset=0.0):
        t[name] = (offset + scale * torch.randn(shape, generator=random, dtype=torch.float64)).to(dtype)

    if classes:
        add("mapping.embed.weight", W, classes)
        add("mapping.embed.bias", W)
    for layer in range(depth):
        add(f"mapping.fc{layer}.weight", W, (Z + (W if classes else 0)) if layer == 0 else W, scale=100)
        add(f"mapping.fc{layer}.bias", W, scale=20)
    add("mapping.w_avg", W)
    add("synthesis.b4.const", WIDTHS[4], 4, 4)
    for r in (4, 8, 16, 32):
        if r > resolution:
            break
        layers = (
            [("conv1", WIDTHS[r], WIDTHS[r], 3)]
            + ([("conv0", WIDTHS[r // 2], WIDTHS[r], 3)] if r > 4 else [])
            + [("torgb", WIDTHS[r], 3, 1)]
        )
        for layer, inputs, outputs, size in layers:
            name = f"synthesis.b{r}.{layer}"
            add(f"{name}.weight", outputs, inputs, size, size)
            add(f"{name}.bias", outputs, scale=0.3)
            add(f"{name}.affine.weight", inputs, W)
            add(f"{name}.affine.bias", inputs, scale=0.2, offset=1)
            if layer != "torgb":
                add(f"{name}.noise_strength", scale=0.4)
                add(f"{name}.noise_const", r, r)
    return t


def rosinality(t):
    """The same weights as (g_ema, latent_avg)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    state = {}
    for layer in range(sum(name.startswith("mapping.fc") for name in t) // 2):
        for part in ("weight", "bias"):
            state[f"style.{layer + 1}.{part}"] = t[f"mapping.fc{layer}.{part}"]
    state["input.input"] = t["synthesis.b4.const"][None]
    for r in sorted({int(name.split(".")[1][1:]) for name in t if name.startswith("synthesis")}):
        j = int(math.log2(r)) - 3
        convs = {"conv1": "conv1"} if r == 4 else {"conv0": f"convs.{2 * j}", "conv1": f"convs.{2 * j + 1}"}
        numbers = {"conv1": 0} if r == 4 else {"conv0": 2 * j + 1, "conv1": 2 * j + 2}
        for layer, there in convs.items():
            here = f"synthesis.b{r}.{layer}"
            state[f"{there}.conv.weight"] = t[f"{here}.weight"][None]
            state[f"{there}.conv.modulation.weight"] = t[f"{here}.affine.weight"]
            state[f"{there}.conv.modulation.bias"] = t[f"{here}.affine.bias"]
            state[f"{there}.activate.bias"] = t[f"{here}.bias"]
            state[f"{there}.noise.weight"] = t[f"{here}.noise_strength"].reshape(1)
            state[f"noises.noise_{numbers[layer]}"] = t[f"{here}.noise_const"][None, None]
            if layer == "conv0":
                state[f"{there}.conv.blur.kernel"] = kernel
        here, there = f"synthesis.b{r}.torgb", "to_rgb1" if r == 4 else f"to_rgbs.{j}"
        state[f"{there}.conv.weight"] = t[f"{here}.weight"][None]
        state[f"{there}.conv.modulation.weight"] = t[f"{here}.affine.weight"]
        state[f"{there}.conv.modulation.bias"] = t[f"{here}.affine.bias"]
        state[f"{there}.bias"] = t[f"{here}.bias"][None, :, None, None]
        if r > 4:
            state[f"{there}.upsample.kernel"] = kernel
    return state, t["mapping.w_avg"]


def tensorflow(t):
    """The same weights as NumPy variables of (top, mapping, synthesis)."""

    def array(x):
        return x.detach().float().numpy()

    mapping, synthesis = {}, {}
    for name, x in t.items():
        part, _, rest = name.partition(".")
        if name == "mapping.w_avg":
            continue
        if part == "mapping":
            layer, kind = rest.split(".")
            there = "LabelEmbed" if layer == "embed" else layer.replace("fc", "Dense")
            mapping[f"{there}/{kind}"] = array(x.T if kind == "weight" else x)
            continue
        block, _, rest = rest.partition(".")
        r = int(block[1:])
        layer, _, kind = rest.partition(".")
        if layer == "const":
            synthesis["4x4/Const/const"] = array(x[None])
            continue
        if kind == "noise_const":
            number = 0 if r == 4 else 2 * int(math.log2(r)) - 5 + (layer == "conv1")
            synthesis[f"noise{number}"] = array(x[None, None])
            continue
        there = {"conv0": "Conv0_up", "conv1": "Conv" if r == 4 else "Conv1", "torgb": "ToRGB"}[layer]
        if kind == "weight":
            x = x.flip((2, 3)) if layer == "conv0" else x
            x = x.permute(2, 3, 1, 0)
        elif kind == "affine.weight":
            kind, x = "mod_weight", x.T
        elif kind == "affine.bias":
            kind, x = "mod_bias", x - 1
        synthesis[f"{r}x{r}/{there}/{kind}"] = array(x)
    return {"dlatent_avg": array(t["mapping.w_avg"])}, mapping, synthesis
