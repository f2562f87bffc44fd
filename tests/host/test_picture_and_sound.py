"""Report and sweep of LTX-2, whose latents are pictures and sound in one: the pictures are measured, shown, decoded."""

from unittest.mock import patch

import families
import mini_models
import pytest
import torch
from family_walk import Walk
from PIL import ImageChops

STEPS, CFG, FRAMES = 2, 3.0, 9
KSAMPLER = {"seed": 5, "steps": STEPS, "sampler_name": "euler", "scheduler": "simple"}


@pytest.fixture
def walk(host, tmp_path):
    import comfy.model_management

    with families.known_to_the_host(["LTXAV"]):
        yield Walk(host, tmp_path, "LTXAV")
    comfy.model_management.unload_all_models()


@pytest.fixture
def guided(walk):
    return walk.guide(walk.load(), walk.load(change=mini_models.trained), 1.5)


@pytest.fixture
def sampling(walk):
    return walk.library("nodes.comfy_host.sampling").Sampling(
        **KSAMPLER,
        positive=walk.mini.prompt(3),
        negative=walk.mini.empty(),
        latent_image={"samples": walk.latent(2)},
    )


@pytest.fixture
def vae():
    """The host's small decoder of LTX-2's pictures, with random weights."""
    import comfy.sd
    from comfy.taesd.taehv import TAEHV

    return comfy.sd.VAE(sd=mini_models._random_like(TAEHV(128).state_dict(), 11))


def streams(latent):
    return latent["samples"].unbind()


@pytest.mark.parametrize("shown", [False, True], ids=["without a vae", "with a vae"])
def test_a_report_samples_as_ksampler_and_measures_the_pictures(walk, guided, sampling, vae, shown):
    with torch.inference_mode():
        report = walk.library("nodes.comfy_host.guidance.report").report(guided, sampling, CFG, vae if shown else None)
        drawn = sampling(guided, CFG)
    assert all(map(torch.equal, streams(report.latent), streams(drawn)))
    assert len(report.steps) == STEPS and "batch of 2" in report.text
    pictures = guided.model.process_latent_in(streams(drawn)[0])
    assert f"its latents is {pictures.flatten(1).std(dim=1).mean():.2f}" in report.text
    assert ("of its pixel values" in report.text) == shown


def test_the_cells_of_a_sweep_are_the_frames_that_the_vae_makes_of_the_pictures(walk, guided, sampling, vae):
    with torch.inference_mode():
        sweep = walk.library("nodes.comfy_host.guidance.sweep").sweep(guided, vae, sampling, [1.5, 0.5], [CFG])
        frames = vae.decode(streams(sampling(guided, CFG))[0])
    assert len(sweep.pictures) == 2 * 2 * FRAMES and sweep.is_whole
    assert torch.equal(sweep.pictures[: 2 * FRAMES], frames.flatten(0, 1))


def test_the_previews_of_a_sweep_are_those_of_ksampler(walk, guided, sampling, vae, monkeypatch):
    import comfy.utils
    import latent_preview

    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0)
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)

    def previews(sample):
        heard = []
        hook = patch.object(
            comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: heard.append(preview)
        )
        with hook, torch.inference_mode():
            sample()
        return [preview[1] for preview in heard if preview is not None]

    sweep = walk.library("nodes.comfy_host.guidance.sweep").sweep
    ours = previews(lambda: sweep(guided, vae, sampling, [1.5, 0.5], [CFG]))
    theirs = previews(lambda: sampling(guided, CFG))
    assert len(ours) == 2 * STEPS and len(theirs) == STEPS
    assert all(ImageChops.difference(*both).getbbox() is None for both in zip(ours, theirs))
