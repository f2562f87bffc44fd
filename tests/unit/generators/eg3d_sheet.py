"""Random weights of a small EG3D generator, with the names and shapes of the published files written out by hand."""

import math

import torch

PLANES, WIDTHS, FEATURES, HIDDEN, ENLARGED, RESOLUTION = 16, {4: 8, 8: 8, 16: 6}, 4, 8, (6, 5), 32
Z, W, RAYS, SAMPLES = 10, 12, 8, 6
FULL = {
    "planes": 256,
    "widths": {r: min(32768 // r, 512) for r in (4, 8, 16, 32, 64, 128, 256)},
    "features": 32,
    "hidden": 64,
}
FULL |= {"enlarged": (256, 128), "resolution": 512, "z": 512, "w": 512}
OPTIONS = {
    "depth_resolution": SAMPLES,
    "depth_resolution_importance": 4,
    "ray_start": 2.25,
    "ray_end": 3.3,
    "box_warp": 1,
    "disparity_space_sampling": False,
    "clamp_mode": "softplus",
    "white_back": False,
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "superresolution_noise_mode": "none",
    "decoder_lr_mul": 1.0,
    "c_gen_conditioning_zero": False,
    "c_scale": 1.0,
    "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, -0.06],
    "density_reg": 0.25,
    "sr_antialias": True,
    "reg_type": "l1",
}


def shapes(
    planes=PLANES, widths=WIDTHS, features=FEATURES, hidden=HIDDEN, enlarged=ENLARGED, resolution=RESOLUTION, z=Z, w=W
):
    found = {
        "backbone.mapping.embed.weight": (w, 25),
        "backbone.mapping.embed.bias": (w,),
        "backbone.mapping.fc0.weight": (w, z + w),
        "backbone.mapping.fc0.bias": (w,),
        "backbone.mapping.fc1.weight": (w, w),
        "backbone.mapping.fc1.bias": (w,),
        "backbone.mapping.w_avg": (w,),
        "backbone.synthesis.b4.const": (widths[4], 4, 4),
        "decoder.net.0.weight": (hidden, features),
        "decoder.net.0.bias": (hidden,),
        "decoder.net.2.weight": (1 + features, hidden),
        "decoder.net.2.bias": (1 + features,),
    }

    def block(name, inputs, outputs, r, channels):
        layers = [("conv1", outputs, outputs, 3), ("torgb", outputs, channels, 1)] + (
            [("conv0", inputs, outputs, 3)] if inputs else []
        )
        for layer, i, o, size in layers:
            found[f"{name}.{layer}.weight"] = (o, i, size, size)
            found[f"{name}.{layer}.bias"] = (o,)
            found[f"{name}.{layer}.affine.weight"] = (i, w)
            found[f"{name}.{layer}.affine.bias"] = (i,)
            if layer != "torgb":
                found[f"{name}.{layer}.noise_strength"] = ()
                found[f"{name}.{layer}.noise_const"] = (r, r)

    for level in range(int(math.log2(planes)) - 1):
        r = 4 << level
        block(f"backbone.synthesis.b{r}", widths.get(r // 2, 0), widths[r], r, 3 * features)
    block("superresolution.block0", features, enlarged[0], resolution // 2, 3)
    block("superresolution.block1", *enlarged, resolution, 3)
    return found


def weights(dtype=torch.float32, seed=0, **sizes):
    random = torch.Generator().manual_seed(seed)
    scales = {"noise_strength": (0.4, 0), "affine.bias": (0.2, 1), "bias": (0.3, 0)}
    made = {}
    for name, shape in shapes(**sizes).items():
        scale, offset = next((value for end, value in scales.items() if name.endswith(end)), (1, 0))
        if name.startswith("backbone.mapping.fc"):
            scale = 20 if name.endswith("bias") else 100
        made[name] = (offset + scale * torch.randn(shape, generator=random, dtype=torch.float64)).to(dtype)
    return made
