"""What a sampler has beside its prompts reaches both sides of a term: references, guidance, frames, windows."""

import copy

import families
import mini_models
import pytest
import torch
from family_walk import CLOSE, Walk, close


@pytest.fixture
def walk_of(host, tmp_path):
    import comfy.model_management

    with families.known_to_the_host():
        yield lambda name: Walk(host, tmp_path, name)
    comfy.model_management.unload_all_models()


def beside(prompt, **values):
    [[embedding, rest]] = prompt
    return [[embedding, {**rest, **values}]]


def as_formula(walk, base, domain, positive, empty, weight):
    plain, towards, away = (
        walk.sample(model, prompt, cfg=1.0) for model, prompt in ((base, positive), (domain, empty), (base, empty))
    )
    size = sum(map(torch.linalg.vector_norm, (plain, weight * towards, weight * away)))
    return plain + weight * (towards - away), CLOSE * float(size)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Flux2", {"reference_latents": [families.seeded(8, 1, 128, 4, 4)]}),
        ("Omnigen2", {"reference_latents": [families.seeded(8, 1, 16, 8, 8)]}),
        ("Flux", {"guidance": 1.5}),
    ],
)
def test_at_cfg_1_a_term_has_the_reference_and_the_guidance_of_the_prompt_that_is_sampled(walk_of, name, values):
    walk = walk_of(name)
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    positive, empty = beside(walk.mini.prompt(3), **values), beside(walk.mini.empty(), **values)
    expected, rounding = as_formula(walk, base, domain, positive, empty, 1.5)
    without, _ = as_formula(walk, base, domain, positive, walk.mini.empty(), 1.5)
    guided = walk.sample(walk.guide(base, domain, 1.5), positive, cfg=1.0)
    assert torch.linalg.vector_norm(guided - expected) <= rounding
    assert torch.linalg.vector_norm(without - expected) > 10 * rounding  # or nothing would be tested


def test_one_mask_a_frame_guides_each_frame_of_a_video_by_its_own(walk_of):
    walk = walk_of("WAN21_T2V")
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    latent = torch.zeros(2, 16, 3, 8, 8)
    masks = torch.zeros(9, 8, 8)  # of the nine frames that three of the latent decode to
    masks[:3] = 1
    masked, whole, plain = (
        walk.sample(model, latent=latent)
        for model in (walk.guide(base, domain, 1.5, mask=masks), walk.guide(base, domain, 1.5), base)
    )
    assert close(masked[:, :, 0], whole[:, :, 0]) and close(masked[:, :, 2], plain[:, :, 2])
    assert not close(whole[:, :, 2], plain[:, :, 2])
    with pytest.raises(ValueError, match="4 masks for a video of 9 frames"):
        walk.sample(walk.guide(base, domain, 1.5, mask=torch.ones(4, 8, 8)), latent=latent)


def test_one_mask_an_image_guides_each_image_of_a_model_with_a_frame_axis_by_its_own(walk_of):
    walk = walk_of("QwenImage")
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    masked, whole, plain = (
        walk.sample(model) for model in (walk.guide(base, domain, 1.5, mask=masks), walk.guide(base, domain, 1.5), base)
    )
    assert close(masked[0], whole[0]) and close(masked[1], plain[1])


def test_a_long_video_that_is_cut_into_windows_is_cut_on_both_sides_of_a_term(walk_of):
    walk = walk_of("WAN21_T2V")
    base, twin, domain = walk.load(), walk.load(), walk.load(change=mini_models.trained)
    latent, seen = torch.zeros(1, 16, 9, 8, 8), []
    cut = in_windows(base)

    def note_frames(apply, arguments):
        seen.append(arguments["input"].shape[2])
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    for model in (twin, domain):
        model.set_model_unet_function_wrapper(note_frames)
    plain = walk.sample(cut, latent=latent)
    assert not close(plain, walk.sample(base, latent=latent))
    assert close(walk.sample(walk.guide(cut, twin, 2.0), latent=latent), plain)
    assert not close(walk.sample(walk.guide(cut, domain, 2.0), latent=latent), plain)
    assert seen and max(seen) < 9  # what windows are for: no evaluation sees the whole video


def in_windows(model):
    import comfy.context_windows as windows

    model = model.clone()
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        context_schedule=windows.get_matching_context_schedule("standard_static"),
        fuse_method=windows.get_matching_fuse_method("pyramid"),
        context_length=5,
        context_overlap=2,
        context_stride=1,
        closed_loop=False,
        dim=2,
        freenoise=False,
    )
    windows.create_prepare_sampling_wrapper(model)
    return model


def test_a_connected_empty_prompt_mends_a_file_that_has_lost_a_part_of_its_own(walk_of, host):
    walk = walk_of("Anima")
    base, domain, origins = (
        walk.load(),
        walk.load(change=mini_models.trained),
        host.library("nodes.comfy_host.domains.origin"),
    )
    [[embedding, rest]] = walk.mini.empty()
    card = host.library("domain_guidance.domains.card").DomainCard("text-based", "flow", base_fingerprint="0")
    old = copy.copy(domain)
    old.set_attachments(origins.ATTACHMENT, origins.DomainOrigin("old", card, [[embedding, {}]]))
    assert rest
    guided = walk.sample(walk.guide(base, old, 1.5))
    assert close(guided, walk.sample(walk.guide(base, domain, 1.5, reference="domain")))


@pytest.mark.parametrize("name", ["HunyuanVideo", "HunyuanImage21", "CosXL", "SDXL, velocity", "Anima", "Krea2"])
def test_save_domain_unet_writes_every_weight_under_the_name_that_the_hosts_loader_reads(walk_of, host, name):
    import comfy.sd

    walk = walk_of(name)
    model = walk.load()
    path = host.library("nodes.comfy_host.domains.save_domain").save_domain(
        model, None, walk.mini.empty(), None, f"family {name}"
    )
    ours = host.library("nodes.comfy_host.domains.load_domain").read_domain_unet(path)
    stock = comfy.sd.load_diffusion_model(str(path))
    state = model.model.diffusion_model.state_dict()
    for loaded in (ours, stock):
        found = loaded.model.diffusion_model.state_dict()
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    assert close(walk.sample(ours), walk.sample(model)) and close(walk.sample(stock), walk.sample(model))
