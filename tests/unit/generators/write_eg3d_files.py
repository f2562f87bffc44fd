"""Writes EG3D files as the original program does: persistent modules, among them a renderer and a decoder that pickle
plainly.

    python write_eg3d_files.py FOLDER

A program of its own, because it invents the modules that those pickles name.
"""

import pickle
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import eg3d_sheet as sheet
import write_files as others

MARCHER = "training.volumetric_rendering."


class Plain(torch.nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.__dict__.update(attributes)


OSGDecoder = others.placed("training.triplane")(type("OSGDecoder", (Plain,), {}))
ImportanceRenderer = others.placed(f"{MARCHER}renderer")(type("ImportanceRenderer", (Plain,), {}))
RaySampler = others.placed(f"{MARCHER}ray_sampler")(type("RaySampler", (Plain,), {}))
MipRayMarcher2 = others.placed(f"{MARCHER}ray_marcher")(type("MipRayMarcher2", (Plain,), {}))


def filters(tensors):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    places = {name.rsplit(".", 2)[0] for name in tensors if name.endswith("conv0.weight")} | {"superresolution"}
    layers = {
        name.removesuffix(".weight")
        for name in tensors
        if ".conv" in name and name.count(".") <= 4 and name.endswith("weight") and "affine" not in name
    }
    return {f"{place}.resample_filter": torch.outer(taps, taps) / 64 for place in places | layers}


def generator(tensors, source, options, *, clamps=(None, 256), enlarging="SuperresolutionHybrid8XDC"):
    rest = {name: tensor for name, tensor in {**tensors, **filters(tensors)}.items() if not name.startswith("decoder.")}
    root = others.network(rest, source, "TriPlaneGenerator")
    root.__dict__.update(rendering_kwargs=options, neural_rendering_resolution=sheet.RAYS, _last_planes=None)
    root.superresolution.__dict__["_class_name"] = enlarging
    for part, clamp in zip((root.backbone, root.superresolution), clamps):
        for name, module in part.named_modules():
            if name.rpartition(".")[2] in ("conv0", "conv1", "torgb"):
                module.__dict__["conv_clamp"] = clamp
    root.add_module("renderer", ImportanceRenderer(plane_axes=torch.eye(3).repeat(3, 1, 1)))
    root.renderer.add_module("ray_marcher", MipRayMarcher2())
    root.add_module("ray_sampler", RaySampler(ray_origins_h=None, depths=None))
    layers = others.network(
        {name.removeprefix("decoder.net."): t for name, t in tensors.items() if name.startswith("decoder.")}, source
    )._modules
    root.add_module("decoder", OSGDecoder(hidden_dim=64))
    root.decoder.add_module("net", torch.nn.Sequential(layers["0"], torch.nn.Softplus(), layers["2"]))
    return root


def snapshot(tensors=None, source="raise SystemExit('executed')", options=None, **changes):
    options = others.EasyDict({**sheet.OPTIONS, **(options or {})})
    averaged = generator(sheet.weights() if tensors is None else tensors, source, options, **changes)
    discriminator = others.network({"b4.weight": torch.ones(2, 2)}, source, "DualDiscriminator")
    return {
        "G": discriminator,
        "D": discriminator,
        "G_ema": averaged,
        "training_set_kwargs": others.EasyDict(use_labels=True),
        "augment_pipe": None,
    }


def write(folder):
    canary = f"import os; os.remove({str(folder / 'canary')!r})"
    for protocol in (3, 4):
        (folder / f"eg3d{protocol}.pkl").write_bytes(pickle.dumps(snapshot(source=canary), protocol))
    other = {
        "ray_start": 0.1,
        "ray_end": 2.6,
        "box_warp": 1.6,
        "white_back": True,
        "superresolution_noise_mode": "const",
        "decoder_lr_mul": 2,
    }
    other |= {"c_gen_conditioning_zero": True, "avg_camera_radius": 1.7, "avg_camera_pivot": [0, 0, 0]}
    (folder / "other.pkl").write_bytes(pickle.dumps(snapshot(options=other, clamps=(128, None)), 4))
    silent = snapshot()
    del silent["G_ema"].rendering_kwargs["c_scale"]
    (folder / "no-camera-scale.pkl").write_bytes(pickle.dumps(silent, 4))
    for name in ("2X", "4X", "8X", "8XDC"):
        enlarging = snapshot(enlarging=f"SuperresolutionHybrid{name}")
        (folder / f"enlarges-{name}.pkl").write_bytes(pickle.dumps(enlarging, 4))
    refused = folder / "refused"
    refused.mkdir()

    def pkl(name, **changes):
        (refused / f"{name}.pkl").write_bytes(pickle.dumps(snapshot(**changes), 4))

    def changed(name, tensor):
        return {**sheet.weights(), name: tensor}

    def without(name):
        return {key: tensor for key, tensor in sheet.weights().items() if key != name}

    pkl("enlarges-otherwise", enlarging="SuperresolutionHybridDeepfp32")
    pkl("disparity", options={"disparity_space_sampling": True})
    pkl("clamps-density", options={"clamp_mode": "relu"})
    pkl("automatic-ray", options={"ray_start": "auto"})
    pkl("many-samples", options={"depth_resolution": 10**6})
    pkl("huge-number", options={"depth_resolution": 10**200})
    pkl("truth-for-a-number", options={"ray_start": True})
    pkl("nan-box", options={"box_warp": float("nan")})
    pkl("noise-mode", options={"superresolution_noise_mode": "x" * 10_000})
    pkl("camera-scale", options={"c_scale": "1"})
    pkl("pivot", options={"avg_camera_pivot": 3})
    pkl("pivot-of-two", options={"avg_camera_pivot": [1, 2]})
    pkl("missing", tensors=without("backbone.mapping.w_avg"))
    pkl("missing-decoder", tensors=without("decoder.net.2.bias"))
    pkl("unknown", tensors=changed("backbone.synthesis.b8.attention.weight", torch.ones(3)))
    pkl("wrong-shape", tensors=changed("superresolution.block1.conv1.weight", torch.ones(5, 4, 3, 3)))
    pkl("nan", tensors=changed("decoder.net.0.weight", torch.full((8, 4), float("nan"))))
    pkl("other-camera", tensors=changed("backbone.mapping.embed.weight", torch.ones(sheet.W, 16)))
    pkl("two-clamps", clamps=(None, None))
    network = snapshot()
    network["G_ema"].superresolution.block0.conv0.conv_clamp = 3
    network["G_ema"].superresolution.block1.conv0.conv_clamp = 4
    (refused / "two-clamps.pkl").write_bytes(pickle.dumps(network, 4))
    network = snapshot()
    network["G_ema"].decoder.net[1] = torch.nn.ReLU()
    (refused / "other-activation.pkl").write_bytes(pickle.dumps(network, 4))
    network = snapshot()
    network["G_ema"].renderer = others.placed(f"{MARCHER}renderer")(type("OtherRenderer", (Plain,), {}))()
    (refused / "other-renderer.pkl").write_bytes(pickle.dumps(network, 4))
    network = snapshot()
    del network["G_ema"]._modules["superresolution"]
    (refused / "no-super-resolution.pkl").write_bytes(pickle.dumps(network, 4))
    torch.save({"g_ema": sheet.weights()}, refused / "state-dict.pt")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
