"""The emoji world in the real host, with networks that have learned nothing: it draws what the library does."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from scenes import distance

STEPS, CFG, WEIGHT, SEED = 20, 3.0, 1.5, 77
MODULES = ("checkpoints", "domains", "model", "patch_code", "prompts")


@pytest.fixture(scope="module")
def library(host):
    return {name: host.library(f"domain_guidance.emoji_world.{name}") for name in MODULES}


@pytest.fixture(scope="module")
def emoji(host):
    return host.library("nodes.comfy_host.emoji")


@pytest.fixture(scope="module")
def folder(library, tmp_path_factory):
    """Weights as `train` would write them."""
    folder, generator = tmp_path_factory.mktemp("world"), torch.Generator().manual_seed(0)
    checkpoints, domains = library["checkpoints"], library["domains"]
    with torch.inference_mode(False):
        torch.manual_seed(0)
        checkpoints.write_base(library["model"].Base(), folder)
        pictures = torch.rand(40, 3, 16, 16, generator=generator) * 2 - 1
        checkpoints.write_code(library["patch_code"].fit(pictures), folder)
        latents = torch.randn(8, 32, 8, 8, generator=generator)
        save_file({"latents": latents}, folder / "ink.pictures.state")
        domains.make_domain("ink", folder, replace(domains.SETTINGS, steps=3, warmup=0, checkpoint_every=3))
    return folder


def encoded(library, folder):
    """The prompts of a cat and an owl, and the empty one."""
    _, table = library["checkpoints"].read_base(folder)
    prompts = library["prompts"]
    return prompts.encode_each(table, ["cat", "owl"], "flat", "sky"), prompts.encode_prompt(table)


def sampled(model, asked, empty):
    """The host's KSampler, from the noise of SEED."""
    import comfy.sample

    latent = torch.zeros(2, 32, 8, 8)
    noise = comfy.sample.prepare_noise(latent, SEED)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, STEPS, CFG, "dpmpp_2m", "karras", [[asked, {}]], [[empty, {}]], latent, seed=SEED
        )


@pytest.mark.parametrize("guided", [False, True])
def test_both_hosts_walk_the_same_trajectory(host, emoji, library, folder, guided):
    """The host's KSampler and the library's sampler on diffusers, from the same noise: 1e-4."""
    asked, empty = encoded(library, folder)
    model = emoji.load_base(folder)
    if guided:
        apply_domain = host.library("nodes.comfy_host.guidance.apply").apply_domain
        model = apply_domain(model, emoji.load_domain(model, "ink", folder), WEIGHT)
    theirs = sampled(model, asked, empty)
    sampling = host.library("domain_guidance.diffusion.sampling")
    schedule = host.library("domain_guidance.diffusion.noise_schedule").scaled_linear()
    sigmas = sampling.karras_sigmas(STEPS, schedule.sigmas[0].item(), schedule.sigmas[-1].item())
    noise = torch.randn(theirs.shape, generator=torch.manual_seed(SEED))
    denoise = denoiser(host, library, folder, schedule, guided)
    with torch.no_grad():
        ours = sampling.sample_dpmpp_2m(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)
    assert distance(theirs, ours) < 1e-4


def denoiser(host, library, folder, schedule, guided):
    """The library's cfg, and the ink domain, for the same prompts: x, sigma -> a clean picture."""
    asked, empty = encoded(library, folder)
    unet, _ = library["checkpoints"].load_base(folder)
    kind = library["model"].PREDICTION
    base = host.library("domain_guidance.diffusers_host.denoiser").DiffusersDenoiser(unet, schedule, kind)
    if not guided:
        return lambda x, sigma: base(x, sigma, empty) + CFG * (base(x, sigma, asked) - base(x, sigma, empty))
    network = library["checkpoints"].load_domain("ink", folder).network
    side_guided = host.library("domain_guidance.side_networks").SideGuidedDenoiser
    return lambda x, sigma: side_guided(base, network, kind, empty, WEIGHT, CFG)(x, sigma, asked)


@pytest.mark.parametrize("side", [64, 72])
def test_the_hosts_vae_encodes_and_decodes_what_the_library_does(emoji, library, folder, side):
    theirs, ours = emoji.load_vae(folder), library["checkpoints"].load_code(folder)
    images = torch.rand(2, side, 64, 3, generator=torch.Generator().manual_seed(1))
    latents = ours.encode(images.movedim(-1, 1) * 2 - 1)
    pictures = ours.decode(latents).movedim(1, -1)
    assert torch.allclose(theirs.encode(images), latents, atol=1e-5)
    assert torch.allclose(theirs.decode(latents.contiguous()), (pictures / 2 + 0.5).clamp(0, 1), atol=1e-5)


def test_a_preview_shows_the_mean_colours_of_the_pictures_cells(emoji, library, folder):
    import latent_preview

    looks = emoji.load_base(folder).model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(looks.latent_rgb_factors, looks.latent_rgb_factors_bias)
    latents = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(2))
    shown = torch.nn.functional.linear(
        latents.movedim(1, -1), previewer.latent_rgb_factors, previewer.latent_rgb_factors_bias
    )
    pictures = library["checkpoints"].load_code(folder).decode(latents)
    assert torch.allclose(shown, torch.nn.functional.avg_pool2d(pictures, 8).movedim(1, -1), atol=1e-5)


def test_a_copy_that_the_host_makes_has_the_same_weights(emoji, folder):
    model = emoji.load_base(folder)
    load, arguments = model.cached_patcher_init
    again = load(*arguments, disable_dynamic=True)
    theirs, ours = again.model.state_dict(), model.model.state_dict()
    assert theirs.keys() == ours.keys() and all(theirs[name].equal(ours[name]) for name in ours)
