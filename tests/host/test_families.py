"""Every model class of the host that makes pictures or video: guided, trained, saved and loaded, or refused in words.

A class that a later ComfyUI brings fails the first test until someone has looked at it and put it into `families.py`.
"""

import logging
import re
import runpy
from types import SimpleNamespace

import families
import host_process
import mini_models
import pytest
import torch
from families import MINIS, NOT_WALKED, SAMPLE_OF
from family_walk import CLOSE, Walk, close, loaded, origin, same_network, same_prompt

STEPS = 12


@pytest.fixture(autouse=True)
def fresh_device(host):
    import comfy.model_management

    yield
    comfy.model_management.unload_all_models()


@pytest.fixture
def walk(host, tmp_path, name):
    with families.known_to_the_host([name]):
        yield Walk(host, tmp_path, name)


def test_every_model_class_of_this_comfyui_has_been_looked_at(host):
    import comfy.supported_models

    seen = {families.class_name(name) for name in MINIS} | NOT_WALKED.keys() | SAMPLE_OF.keys()
    here = {model.__name__ for model in comfy.supported_models.models}
    assert not here - seen, (
        f"{sorted(here - seen)} are new in this ComfyUI: try them with the pack, then give each a mini in families.py, "
        "or its reason in NOT_WALKED."
    )
    assert not NOT_WALKED.keys() & {families.class_name(name) for name in MINIS}


@pytest.mark.parametrize("name", MINIS)
def test_a_weight_of_zero_changes_nothing_and_a_term_is_what_the_formula_says(walk):
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    plain = walk.sample(base)
    assert torch.equal(walk.sample(walk.guide(base, domain, 0.0)), plain)
    empty = walk.mini.empty()
    towards, away = (walk.sample(model, empty, cfg=1.0) for model in (domain, base))
    assert not close(towards, away)  # or nothing would be tested
    _is_the_formula(walk.sample(walk.guide(base, domain, 1.5)), plain, towards, away)
    _are_four_steps_of_the_formula(walk, walk.guide(base, domain, 1.5), base, domain)


def _are_four_steps_of_the_formula(walk, guided, base, domain, mask=1.0):
    steps, empty = walk.steps(guided, walk.mini.prompt(3), cfg=3.0), walk.mini.empty()
    plain, towards, away = (
        walk.answers(model, prompt, cfg, steps)
        for model, prompt, cfg in ((base, walk.mini.prompt(3), 3.0), (domain, empty, 1.0), (base, empty, 1.0))
    )
    assert len(steps) == 4
    for (_, _, answer), *parts in zip(steps, plain, towards, away):
        _is_the_formula(answer, *parts, mask)


def _is_the_formula(guided, plain, towards, away, mask=1.0):
    # Relative to what is added up, each of which is rounded.
    size = sum(map(torch.linalg.vector_norm, (plain, 1.5 * towards, 1.5 * away)))
    assert torch.linalg.vector_norm(guided - (plain + 1.5 * mask * (towards - away))) <= CLOSE * size


@pytest.mark.parametrize("name", MINIS)
def test_a_domain_that_is_the_base_pulls_nowhere(walk):
    base, copy = walk.load(), walk.load()
    assert close(walk.sample(walk.guide(base, copy, 2.0), steps=4), walk.sample(base, steps=4))


@pytest.mark.parametrize("name", MINIS)
def test_a_mask_is_of_the_picture(walk):
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    rows, columns = walk.mini.latent[-2:]
    mask = torch.zeros(rows, columns)
    mask[:, : columns // 2] = 1
    masked, whole, plain = (
        walk.pictures(model)
        for model in (walk.guide(base, domain, 1.5, mask=mask), walk.guide(base, domain, 1.5), base)
    )
    inside = (mask > 0).expand(plain.shape)
    assert close(masked[inside], whole[inside]) and close(masked[~inside], plain[~inside])
    _are_four_steps_of_the_formula(walk, walk.guide(base, domain, 1.5, mask=mask), base, domain, walk.cells(mask))


@pytest.mark.parametrize("name", MINIS)
def test_an_adapter_on_shared_weights_is_a_separately_patched_copy(walk):
    import comfy.sd

    base, copy, state = walk.load(), walk.load(), families.weights(walk.name)
    layers = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
    modules = base.model.diffusion_model.named_modules()
    lora = mini_models.lora({f"{n}.weight": state[f"{n}.weight"] for n, m in modules if isinstance(m, layers)})
    shared, separate = (comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0] for model in (base, copy))
    ours, theirs = (walk.sample(walk.guide(base, domain, 1.5)) for domain in (shared, separate))
    assert close(ours, theirs) and not close(ours, walk.sample(base))
    _are_four_steps_of_the_formula(walk, walk.guide(base, shared, 1.5), base, separate)


@pytest.mark.parametrize("name", MINIS)
def test_a_side_network_learns_beside_the_model_and_corrects_it_or_it_is_refused(walk):
    with torch.inference_mode(False):
        base = walk.load()
        if walk.mini.refused:
            with pytest.raises(ValueError) as caught:
                _side_network(walk, base)
            assert _plain(caught.value) == walk.mini.refused
            return
        first, last, path = _side_network(walk, base)
    assert last < first
    domain = walk.library("nodes.comfy_host.domains.side_network").read_side_network(base, path)
    plain, empty = walk.sample(base), walk.sample(base, walk.mini.empty(), cfg=1.0)
    same_prompt(origin(walk, domain).empty, walk.mini.empty())
    apply = walk.library("nodes.comfy_host.guidance.apply").apply_domain
    assert torch.equal(walk.sample(apply(base, domain, 0.0)), plain)
    expected = plain + 1.5 * (_corrected(walk, base, path, empty) - empty)
    assert close(walk.sample(apply(base, domain, 1.5)), expected) and not close(expected, plain)


@pytest.mark.parametrize("form", ["adapter", "empty-prompt"])
@pytest.mark.parametrize("name", MINIS)
def test_training_lowers_the_loss_and_its_file_is_read_whole_or_it_is_refused(walk, form, caplog):
    with torch.inference_mode(False):
        if walk.mini.refused:
            with pytest.raises(ValueError) as caught:
                _trained(walk, walk.load(), form)
            assert _plain(caught.value) == walk.mini.refused
            return
        base = walk.load()
        first, last, path = _trained(walk, base, form)
    assert last < first
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ours, stock = loaded(walk, base, path, form)
    assert not [record for record in caplog.records if "missing" in record.message or "not loaded" in record.message]
    same_network(ours, stock)
    same_prompt(origin(walk, ours).empty, walk.mini.empty())
    assert close(walk.sample(ours, origin(walk, ours).empty), walk.sample(stock, origin(walk, ours).empty))


def _plain(error):
    """A refusal without what the network itself said."""
    return re.sub(r" \(\w+: .*\)(?=;)", "", str(error))


@pytest.mark.parametrize("name", MINIS)
def test_text_free_is_trained_where_there_is_a_cross_attention_to_take_out_and_refused_elsewhere(walk):
    check = walk.library("nodes.comfy_host.training.forms").check_trainable
    if families.has_text_free(walk.name):
        check(walk.load(), "text-free")
        return
    with pytest.raises(ValueError, match="no cross-attention|makes video|in a way of its own"):
        check(walk.load(), "text-free")


def test_the_page_of_models_is_what_the_walk_finds():
    make_models = runpy.run_path(str(host_process.PACK_ROOT / "docs" / "make_models.py"))
    written = make_models["PAGE"].read_text(encoding="utf-8")
    assert written == make_models["page"](families), "run docs/make_models.py"


def _side_network(walk, model):
    """The loss before and after a few steps, and the file. Refused like a training in the node."""
    forms, sides = (walk.library(f"nodes.comfy_host.training.{module}") for module in ("forms", "side_form"))
    size = walk.library("domain_guidance.data").Size(8 * walk.mini.latent[-1], 8 * walk.mini.latent[-2])
    forms.check_trainable(model, "side-network")
    empty = _empty(walk, model)
    sides.check_answers(model, empty, 8, size)
    latents = SimpleNamespace(commonest_bucket=size)
    with sides.made_side_trainable(model, _pixels(), empty, latents, 8, name="", seed=0, batch_size=1) as trainable:
        return _steps(walk, trainable, size)


def _corrected(walk, model, path, reference):
    """The formula of a side network for one step from pure noise. reference: the base's answer, as it is sampled."""
    import comfy.sample
    import comfy.samplers

    side = walk.library("domain_guidance.side_networks")
    sampling, latent = model.get_model_object("model_sampling"), walk.latent(2)
    sigma = comfy.samplers.calculate_sigmas(sampling, "simple", 1)[:1]
    latent = comfy.sample.fix_empty_latent_channels(model, latent)
    x = sampling.noise_scaling(sigma, comfy.sample.prepare_noise(latent, 5), latent, True)
    file = side.read_side_file(path)
    with torch.inference_mode():
        answer = model.model.process_latent_in(reference)
        if _is_cosmos(sampling):
            x, sigma = x / (1 + sigma), sigma / (1 + sigma)
        domain = side.corrected(file.network, x, sigma.expand(2), answer, file.card.prediction)
        return model.model.process_latent_out(domain)


def _is_cosmos(sampling):
    import comfy.model_sampling

    return isinstance(sampling, comfy.model_sampling.COSMOS_RFLOW)


def _empty(walk, model):
    prompts = walk.library("nodes.comfy_host.domains.empty_prompt")
    return prompts.with_guidance(prompts.empty_prompt(None, walk.mini.empty()), model, default=True)


def _trained(walk, model, form):
    forms = walk.library("nodes.comfy_host.training.forms")
    size = walk.library("domain_guidance.data").Size(8 * walk.mini.latent[-1], 8 * walk.mini.latent[-2])
    forms.check_trainable(model, form)
    empty, settings = _empty(walk, model), {"form": form, "rank": 2, "seed": 0, "save_memory": True}
    ready = forms.prepared(model, empty, 8, size, **settings)
    making = forms.made_trainable(model, _pixels(), empty, None, 8, eight_bit_adam=False, ready=ready, **settings)
    with making as trainable:
        return _steps(walk, trainable, size)


def _steps(walk, trainable, size):
    loss = walk.library("domain_guidance.training.loss")
    trained = [parameter for parameter in trainable.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    clean = trainable.latent_scale(families.seeded(4, 1, *trainable.latent_shape(size)))
    batch, losses = loss.Batch(clean, trainable.conditioning(1, size)), []
    for _ in range(STEPS):
        noise, settings = torch.Generator().manual_seed(0), (trainable.schedule, trainable.prediction)
        losses.append(loss.noise_loss(trainable.predict, batch, *settings, noise, trainable.loss_weight))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
    path = walk.folder / "result.safetensors"
    trainable.write(path, {})
    return losses[0].item(), losses[-1].item(), path


def _pixels():
    import comfy.sd

    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}).patcher
