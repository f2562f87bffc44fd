"""The emoji world in the real host: the same pictures as in the library, from the words that a user writes."""

import pytest
import torch
from host_process import PromptError
from prompts import Graph, ksampler
from scenes import distance

SETTINGS = {"steps": 20, "cfg": 3.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
BASE, INK, GLOSSY, VAE, POSITIVE, NEGATIVE, LATENT, INK_IMAGES = range(8)


def module(host, name):
    return host.library(f"domain_guidance.emoji_world.{name}")


def emoji(graph, things="cat, owl", style="flat", ground="sky", **inputs):
    return graph.add("DomainGuidanceEmojiWorld", things=things, style=style, ground=ground, **inputs)


@pytest.mark.parametrize("side", [64, 72])
def test_the_hosts_vae_encodes_and_decodes_what_the_library_does(host, side):
    graph = Graph()
    theirs, ours = host.value(graph, emoji(graph)[VAE]), module(host, "checkpoints").load_code()
    images = torch.rand(2, side, 64, 3, generator=torch.Generator().manual_seed(1))
    latents = ours.encode(images.movedim(-1, 1) * 2 - 1)
    pictures = ours.decode(latents).movedim(1, -1)
    assert torch.allclose(theirs.encode(images), latents, atol=1e-5)
    assert torch.allclose(theirs.decode(latents.contiguous()), (pictures / 2 + 0.5).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("domain", [None, INK, GLOSSY])
def test_both_hosts_walk_the_same_trajectory(host, domain):
    """The host's KSampler and the library's sampler on diffusers, from the same noise: 1e-4."""
    sampling = host.library("domain_guidance.diffusion.sampling")
    graph = Graph()
    world = emoji(graph)
    model = world[BASE]
    if domain is not None:
        model = graph.add("DomainGuidanceApply", model=model, domain_model=world[domain], weight=1.5)
    theirs = host.samples(
        graph, ksampler(graph, model, world[POSITIVE], world[NEGATIVE], world[LATENT], seed=77, **SETTINGS)
    )
    schedule = host.library("domain_guidance.diffusion.noise_schedule").scaled_linear()
    sigmas = sampling.karras_sigmas(20, schedule.sigmas[0].item(), schedule.sigmas[-1].item())
    noise = torch.randn(theirs.shape, generator=torch.manual_seed(77))
    with torch.no_grad():
        ours = sampling.sample_dpmpp_2m(denoiser(host, schedule, domain), noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)
    assert distance(theirs, ours) < 1e-4


def denoiser(host, schedule, domain):
    """The library's cfg 3, and weight 1.5 of a domain, for a cat and an owl: x, sigma -> a clean picture."""
    checkpoints, prompts, model = (module(host, name) for name in ("checkpoints", "prompts", "model"))
    unet, table = checkpoints.load_base()
    asked, empty = prompts.encode_each(table, ["cat", "owl"], "flat", "sky"), prompts.encode_prompt(table)
    base = host.library("domain_guidance.diffusers_host.denoiser").DiffusersDenoiser(unet, schedule, model.PREDICTION)
    if domain is None:
        return lambda x, sigma: base(x, sigma, empty) + 3.0 * (base(x, sigma, asked) - base(x, sigma, empty))
    network = checkpoints.load_domain({INK: "ink", GLOSSY: "glossy"}[domain]).network
    guided = host.library("domain_guidance.side_networks").SideGuidedDenoiser(
        base, network, model.PREDICTION, empty, 1.5, 3.0
    )
    return lambda x, sigma: guided(x, sigma, asked)


def test_every_thing_becomes_one_image_in_the_order_of_the_words(host):
    graph = Graph()
    world = emoji(graph, things="a cat, OWL\nrocket", images_per_thing=2)
    prompts, table = module(host, "prompts"), module(host, "checkpoints").read_base()[1]
    wanted = prompts.encode_each(table, ["cat", "cat", "owl", "owl", "rocket", "rocket"], "flat", "sky")
    assert torch.equal(host.value(graph, world[POSITIVE])[0][0], wanted)
    assert torch.equal(host.value(graph, world[NEGATIVE])[0][0], prompts.encode_prompt(table))
    assert host.value(graph, world[LATENT])["samples"].shape == (6, 32, 8, 8)


def test_any_leaves_style_and_ground_open(host):
    graph = Graph()
    world = emoji(graph, things="cat", style="any", ground="any")
    prompts, table = module(host, "prompts"), module(host, "checkpoints").read_base()[1]
    assert torch.equal(host.value(graph, world[POSITIVE])[0][0], prompts.encode_prompt(table, "cat"))


@pytest.mark.parametrize(
    ("things", "said"),
    [("cat, aple", "cannot draw 'aple': did you mean apple"), (" , ", "No thing is named to draw")],
)
def test_words_that_it_cannot_draw_are_told_before_anything_is_drawn(host, things, said):
    graph = Graph()
    world = emoji(graph, things=things)
    with pytest.raises(PromptError, match=said):
        host.samples(graph, ksampler(graph, world[BASE], world[POSITIVE], world[NEGATIVE], world[LATENT]))


def test_the_ink_images_are_those_of_the_shown_things(host):
    graph = Graph()
    images = host.value(graph, emoji(graph)[INK_IMAGES])
    assert images.shape == (len(module(host, "things").shown()), 64, 64, 3)
    assert images[..., 0].equal(images[..., 1]) and images.min() < 0.1 and images.max() > 0.9


def test_a_preview_shows_the_colours_of_the_picture(host):
    """The host's preview of latents, against the mean colours of their pictures' cells."""
    import latent_preview

    graph = Graph()
    world = emoji(graph, things="apple, owl, rocket, house", style="noto")
    latents = host.samples(
        graph, ksampler(graph, world[BASE], world[POSITIVE], world[NEGATIVE], world[LATENT], seed=3, **SETTINGS)
    )
    looks = host.value(graph, world[BASE]).model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(looks.latent_rgb_factors, looks.latent_rgb_factors_bias)
    shown = torch.nn.functional.linear(
        latents.movedim(1, -1), previewer.latent_rgb_factors, previewer.latent_rgb_factors_bias
    )
    pictures = host.value(graph, world[VAE]).decode(latents).movedim(-1, 1) * 2 - 1
    cells = torch.nn.functional.avg_pool2d(pictures, 8).movedim(1, -1)
    assert (shown - cells).square().mean() < 0.1 * (cells - cells.mean()).square().mean()
