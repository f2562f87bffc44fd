"""The families that people train: on photographs, by the node's own training, to files that every loader reads."""

import io
import json
import logging
import re

import families
import numpy as np
import pytest
import torch
from family_walk import Walk, close, loaded, origin, same_network, same_prompt
from mini_models import _random_like
from PIL import Image

# Of 24 tiles four are held out; one size of latents.
TILES, SIDE, STEPS = 24, 64, 12
FAMILIES = (
    "ZImage",
    "Krea2",
    "QwenImage",
    "Flux2",
    "Anima",
    "Chroma",
    "Lumina2",
    "HiDream",
    "HunyuanImage21",
    "Omnigen2",
    "SD 3.5 Medium",
    "SDXL, velocity",
    "CosXL",
    "WAN21_T2V",
)
UNREAD = ("NOT LOADED", "not loaded", "missing", "unexpected")
MARK = re.compile(r"'(?:v_pred|ztsnr|edm_vpred\.sigma_m(?:ax|in))'")  # no weights: by these the host knows the variant
KSAMPLER = {"seed": 5, "steps": 2, "sampler_name": "euler", "scheduler": "simple"}


@pytest.fixture(scope="module")
def photographs():
    """Tiles of a photograph that scikit-learn brings, an IMAGE [24, 64, 64, 3]."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the photographs are scikit-learn's")
    picture = torch.from_numpy(datasets.load_sample_image("flower.jpg") / 255).float()
    tiles = picture[: picture.shape[0] // SIDE * SIDE].unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE)
    return tiles.flatten(0, 1)[:TILES].movedim(1, -1).contiguous()


@pytest.fixture
def walk(host, tmp_path, name):
    import comfy.model_management

    with families.known_to_the_host([name]):
        yield Walk(host, tmp_path, name)
    comfy.model_management.unload_all_models()


@pytest.mark.parametrize("form", ["adapter", "empty-prompt"])
@pytest.mark.parametrize("name", FAMILIES)
def test_training_on_photographs_lowers_the_held_out_loss_and_every_part_takes_the_result(
    walk, photographs, form, base_directory, caplog
):
    base, vae = walk.load(), family_vae(walk)
    path = (
        base_directory / "output" / ("loras" if form == "adapter" else "diffusion_models") / f"{walk.name}.safetensors"
    )
    trained, previews = train(walk, base, vae, photographs, form)
    losses = held_out(path)
    assert losses[-1] < losses[0], losses
    assert previews and all(_is_a_picture(preview) for preview in previews)
    (cover,) = walk.library("domain_guidance.domains.domain_file").read_covers(path)
    assert _is_a_picture(Image.open(io.BytesIO(cover)))

    (walk.folder / path.name).symlink_to(path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ours, stock = loaded(walk, base, walk.folder / path.name, form)
    assert not _unread(caplog.records)
    same_network(ours, stock)
    empty = origin(walk, ours).empty
    same_prompt(empty, walk.mini.empty())
    drawn = walk.sample(trained, empty)
    assert all(close(walk.sample(model, empty), drawn) for model in (ours, stock))
    assert not close(walk.sample(base, empty), drawn)
    _can_be_reported_and_swept(walk, base, ours, vae)


def _unread(records):
    """What a loader found no place for, or missed."""
    told = [record.message for record in records if any(words in record.message for words in UNREAD)]
    return [message for message in told if "unexpected" not in message or "'" in MARK.sub("", message)]


def train(walk, model, vae, images, form):
    """The MODEL that Train Domain puts out, and the previews that it showed."""
    training, progress = (walk.library(f"nodes.comfy_host.training.{name}") for name in ("train", "progress"))
    settings = walk.library("domain_guidance.training").RunSettings(
        steps=STEPS,
        learning_rate=1e-2 if form == "adapter" else 1e-3,
        batch_size=4,
        seed=3,
        sample_every=STEPS,
        evaluate_every=STEPS,
        checkpoint_every=0,
        time_sampling="auto",
    )
    request = training.TrainRequest(form, 4, SIDE, walk.name, "new version", False, settings)
    shown = []

    class Progress(progress.TrainingProgress):
        def drawn(self, step):
            shown.append(super().drawn(step))
            return shown[-1]

    source = walk.library("domain_guidance.data").BatchImages(images)
    empty = walk.library("nodes.comfy_host.domains.empty_prompt").empty_prompt(None, walk.mini.empty())
    trained = training.train_in_host(model, vae, empty, source, request, Progress(lambda line, slot="": None))
    return trained.model, shown


def held_out(path):
    lines = (path.with_suffix(".training") / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["held_out"] for line in map(json.loads, lines) if line["event"] == "evaluated"]


def family_vae(walk):
    """A VAE of the family's latents as the host detects it: with a frame axis Wan's own, which Qwen-Image has too."""
    import comfy.sd

    channels = walk.mini.latent[0]
    if len(walk.mini.latent) == 4:
        return comfy.sd.VAE(sd=_wan_vae())
    from comfy.taesd.taesd import TAESD

    state = _random_like(TAESD(latent_channels=channels).state_dict(), 11)
    state |= {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    return comfy.sd.VAE(sd=state, metadata={"tae_latent_channels": channels})


def _wan_vae():
    from comfy.ldm.wan.vae import WanVAE

    network = WanVAE(
        dim=8,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        image_channels=3,
        conv_out_channels=3,
        dropout=0.0,
    )
    state = _random_like(network.state_dict(), 11)
    return {key: torch.ones_like(tensor) if key.endswith("gamma") else tensor for key, tensor in state.items()}


def _can_be_reported_and_swept(walk, base, domain, vae):
    guided = walk.guide(base, domain, 1.5)
    sampling = walk.library("nodes.comfy_host.sampling").Sampling(
        **KSAMPLER,
        positive=walk.mini.prompt(3),
        negative=walk.mini.empty(),
        latent_image={"samples": walk.latent(1)},
    )
    with torch.inference_mode():
        report = walk.library("nodes.comfy_host.guidance.report").report(guided, sampling, 3.0, vae)
        sweep = walk.library("nodes.comfy_host.guidance.sweep").sweep(guided, vae, sampling, [0.0, 1.5], [3.0])
        drawn = [sampling(model, 3.0) for model in (base, guided)]
        cells = torch.cat([walk.library("nodes.comfy_host.sampling").decoded(vae, latent) for latent in drawn])
    assert torch.equal(report.latent["samples"], drawn[1]["samples"])
    assert len(report.steps) == KSAMPLER["steps"] and all(np.isfinite(step.measured.text) for step in report.steps)
    assert torch.equal(sweep.pictures, cells)
    assert all(map(_is_a_picture, (report.plot, sweep.grid)))


def _is_a_picture(image):
    values = np.asarray(image, dtype=np.float32)
    return bool(np.isfinite(values).all()) and values.std() > 1
