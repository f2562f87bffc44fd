"""The emoji world in the real host: its networks draw as in the library, and its node reads users' words."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from host_process import PromptError
from prompts import Graph, ksampler
from scenes import distance

STEPS, CFG, WEIGHT, SEED = 20, 3.0, 1.5, 77
BASE, GLOSSY, POSITIVE, NEGATIVE, LATENT, INK_IMAGES, UNSTYLED = 0, 2, 4, 5, 6, 7, 8  # outputs of the node
MODULES = ("checkpoints", "model", "prompts")


@pytest.fixture(scope="module")
def library(host):
    return {name: host.library(f"domain_guidance.emoji_world.{name}") for name in MODULES}


@pytest.fixture(scope="module")
def emoji(host):
    return host.library("nodes.comfy_host.emoji")


@pytest.fixture(scope="module")
def folder(library):
    """Of the weights that come with the pack."""
    return library["checkpoints"].FOLDER


def encoded(library, folder):
    """The prompts of a cat and an owl, and the empty one."""
    _, table = library["checkpoints"].read_base(folder)
    prompts = library["prompts"]
    return prompts.encode_each(table, ["cat", "owl"], "flat", "sky"), prompts.encode_prompt(table)


def sampled(model, asked, empty, sampler):
    """The host's KSampler, from the noise of SEED."""
    import comfy.sample

    latent = torch.zeros(2, 32, 8, 8)
    noise = comfy.sample.prepare_noise(latent, SEED)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, STEPS, CFG, sampler, "karras", [[asked, {}]], [[empty, {}]], latent, seed=SEED
        )


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize(
    ("hand", "reference"), [(None, "auto"), ("ink", "auto"), ("ink", "prompt"), ("glossy", "prompt")]
)
def test_both_hosts_walk_the_same_trajectory(host, emoji, library, folder, hand, reference, sampler):
    """The host's KSampler and the library's sampler on diffusers, from the same noise: 1e-4."""
    asked, empty = encoded(library, folder)
    model = emoji.load_base(folder)
    if hand is not None:
        apply_domain = host.library("nodes.comfy_host.guidance.apply").apply_domain
        model = apply_domain(model, emoji.load_domain(model, hand, folder), WEIGHT, reference=reference)
    theirs = sampled(model, asked, empty, sampler)
    sampling = host.library("domain_guidance.diffusion.sampling")
    schedule = host.library("domain_guidance.diffusion.noise_schedule").scaled_linear()
    sigmas = sampling.karras_sigmas(STEPS, schedule.sigmas[0].item(), schedule.sigmas[-1].item())
    noise = torch.randn(theirs.shape, generator=torch.manual_seed(SEED))
    denoise = denoiser(host, library, folder, schedule, hand, reads_prompt=reference == "prompt")
    walk = getattr(sampling, f"sample_{sampler}")
    if sampler == "euler_ancestral":
        walk = partial(walk, generator=torch.Generator().manual_seed(SEED + 1))
    with torch.no_grad():
        ours = walk(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)
    assert distance(theirs, ours) < 1e-4


def denoiser(host, library, folder, schedule, hand, reads_prompt):
    """The library's cfg, and a domain, for the same prompts: x, sigma -> a clean picture."""
    asked, empty = encoded(library, folder)
    unet, _ = library["checkpoints"].load_base(folder)
    kind = library["model"].PREDICTION
    base = host.library("domain_guidance.diffusers_host.denoiser").DiffusersDenoiser(unet, schedule, kind)
    if hand is None:
        return lambda x, sigma: base(x, sigma, empty) + CFG * (base(x, sigma, asked) - base(x, sigma, empty))
    network = library["checkpoints"].load_domain(hand, folder).network
    side_guided = host.library("domain_guidance.side_networks").SideGuidedDenoiser
    guided = side_guided(base, network, kind, empty, WEIGHT, CFG, reads_prompt=reads_prompt)
    return lambda x, sigma: guided(x, sigma, asked)


def test_glossy_begins_at_the_same_step_in_the_first_template_as_in_the_readmes_picture(host, emoji, folder):
    twin = Path(__file__).parents[1] / "workflows" / "01-first-look.api.json"
    graph = json.loads(twin.read_text(encoding="utf-8"))
    glossy = next(node["inputs"] for node in graph.values() if node["inputs"].get("domain_model") == ["1", GLOSSY])
    start = emoji.load_base(folder).get_model_object("model_sampling").percent_to_sigma(glossy["start_percent"])
    ours = host.library("domain_guidance.emoji_world.domains").INTERVALS["glossy"].start
    schedule = host.library("domain_guidance.diffusion.noise_schedule").scaled_linear()
    steps = host.library("domain_guidance.emoji_world.drawing").STEPS
    karras = host.library("domain_guidance.diffusion.sampling").karras_sigmas
    sigmas = karras(steps, schedule.sigmas[0].item(), schedule.sigmas[-1].item())
    assert 0 < int((sigmas <= start).sum()) == int((sigmas <= ours).sum()) < steps


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


# The node, with the weights that come with the pack.


def world(graph, things="cat, owl", style="flat", ground="sky", **inputs):
    return graph.add("DomainGuidanceEmojiWorld", things=things, style=style, ground=ground, **inputs)


def pack_table(library):
    return library["checkpoints"].read_base()[1]


def test_every_thing_becomes_one_image_in_the_order_of_the_words(host, library):
    graph = Graph()
    outputs = world(graph, things="a cat, OWL\nrocket", images_per_thing=2)
    encode_each, table = library["prompts"].encode_each, pack_table(library)
    wanted = encode_each(table, ["cat", "cat", "owl", "owl", "rocket", "rocket"], "flat", "sky")
    assert torch.equal(host.value(graph, outputs[POSITIVE])[0][0], wanted)
    assert torch.equal(host.value(graph, outputs[NEGATIVE])[0][0], library["prompts"].encode_prompt(table))
    assert host.value(graph, outputs[LATENT])["samples"].shape == (6, 32, 8, 8)


def test_any_leaves_style_and_ground_open(host, library):
    graph = Graph()
    outputs = world(graph, things="cat", style="any", ground="any")
    wanted = library["prompts"].encode_prompt(pack_table(library), "cat")
    assert torch.equal(host.value(graph, outputs[POSITIVE])[0][0], wanted)


def test_unstyled_prompts_are_the_same_without_the_style(host, library):
    graph = Graph()
    outputs = world(graph, things="cat, owl", style="flat", ground="sky")
    wanted = library["prompts"].encode_each(pack_table(library), ["cat", "owl"], None, "sky")
    assert torch.equal(host.value(graph, outputs[UNSTYLED])[0][0], wanted)


@pytest.mark.parametrize(
    ("things", "said"),
    [("cat, aple", "cannot draw 'aple': did you mean apple"), (" , ", "There is nothing to draw")],
)
def test_words_that_it_cannot_draw_are_told_before_anything_is_drawn(host, things, said):
    graph = Graph()
    outputs = world(graph, things=things)
    drawn = ksampler(graph, outputs[BASE], outputs[POSITIVE], outputs[NEGATIVE], outputs[LATENT])
    with pytest.raises(PromptError, match=said):
        host.samples(graph, drawn)


def test_the_ink_images_are_those_of_the_shown_things(host):
    graph = Graph()
    images = host.value(graph, world(graph)[INK_IMAGES])
    shown = host.library("domain_guidance.emoji_world.things").shown()
    assert images.shape == (len(shown), 64, 64, 3)
    assert images[..., 0].equal(images[..., 1]) and images.min() < 0.1 and images.max() > 0.9
