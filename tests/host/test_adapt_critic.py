"""The critic of an adaptation: whatever acts on a sampler acts on the gradient, by exactly as much, and nothing stays
behind.
"""

import gc
import weakref
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from critics import Critics, Judged, predicted
from mini_models import trained
from probe_nodes import seeded
from scenes import EMPTY, POSITIVE, assert_differs, assert_one_sentence, assert_same, control
from watchers import watch_evaluations

WEIGHT, CFG = 2.0, 2.0
LOW_NOISE = (0.01, 0.12)  # where no clamp acts on these networks


@pytest.fixture(scope="module")
def critics(host):
    return Critics.of(host)


@pytest.fixture(params=["noise", "velocity", "flow"])
def kind(request, host, minis):
    """A graph, its base, the base's domain, and what a network of this kind puts out."""
    family = "sd3" if request.param == "flow" else "sd15"
    judged = Judged(host, minis, family)
    s = judged.scene
    domain = s.load_domain(minis.domain(family, change=trained))
    if request.param == "velocity":
        s.model, domain = (
            s.graph.add("ModelSamplingDiscrete", model=m, sampling="v_prediction", zsnr=False)
            for m in (s.model, domain)
        )
    return judged, domain


def latent_gradient(critics, judged, model, *, score="sds", seed=5, **settings):
    """(gradient at the latent, the one noisy latent and level that the critic was asked about)."""
    d, asked = critics.distillation, []

    def work(critic):
        def denoise(x, sigma):
            asked.append((x.clone(), sigma.clone()))
            return critic.denoise(x, sigma)

        latent = 0.3 * seeded(1, 1, judged.vae_channels, 8, 8)  # its own picture: the encoder is the identity
        chosen = d.Distillation(resolution=8, noise=d.NoiseRange(*LOW_NOISE), score=score, percentile=1.0)
        _, distilled = d.distill(
            latent,
            None,
            SimpleNamespace(
                denoise=denoise, encode=lambda x: x, schedule=critic.schedule, prediction=critic.prediction
            ),
            chosen,
            torch.Generator().manual_seed(seed),
        )
        return distilled.pixel_gradient, critic.prediction

    gradient, prediction = judged.ask(critics, model, work, cfg=CFG, **settings)
    assert gradient.abs().max() < 1, "a clamp acted"
    [(x, sigma)] = asked
    return gradient, x, sigma, prediction


def change_by(critics, term, sigma, prediction):
    """What a term of the denoised prediction does to the gradient: -(alpha / sigma) w(t) term."""
    s = critics.distillation.noise_ratio(sigma, prediction)
    return -(s / (1 + s**2)).reshape(-1, 1, 1, 1) * term


@pytest.mark.parametrize("score", ["sds", "likelihood"])
def test_domain_guidance_changes_the_gradient_by_its_own_term(critics, kind, score):
    judged, domain = kind
    guided = judged.scene.guide(judged.scene.model, domain, weight=WEIGHT)
    plain, *_ = latent_gradient(critics, judged, judged.scene.model, score=score)
    with_domain, x, sigma, prediction = latent_gradient(critics, judged, guided, score=score)
    empty = judged.prompt(EMPTY)
    term = WEIGHT * (
        predicted(judged.value(domain), empty, x, sigma) - predicted(judged.value(judged.scene.model), empty, x, sigma)
    )
    expected = change_by(critics, term, sigma, prediction)
    assert expected.abs().max() > 1e-2
    assert torch.allclose(with_domain - plain, expected, atol=1e-5)


def test_a_critic_gets_no_advice_on_pictures_that_burn(host, minis, critics, caplog):
    """A scale of 100 is the paper's here; on a sampler it is a mistake, and the log says so."""
    judged = Judged(host, minis)
    judged.ask(critics, guided(judged), lambda critic: critic.denoise(seeded(3, 1, 4, 8, 8), torch.ones(1)), cfg=100.0)
    assert not [record for record in caplog.records if "burn" in record.getMessage()]


@pytest.mark.parametrize("cache", ["EasyCache", "LazyCache"])
def test_a_cache_that_answers_from_the_step_before_is_refused_in_a_sentence(host, minis, critics, cache):
    judged = Judged(host, minis)
    with pytest.raises(ValueError, match="EasyCache or LazyCache") as refused:
        critics.critic.check_critic(host.value(judged.graph, judged.graph.add(cache, model=judged.scene.model)[0]))
    assert_one_sentence(str(refused.value))


def test_a_critic_evaluates_a_term_at_every_level_whatever_every_says(host, minis, critics, caplog):
    judged = Judged(host, minis)
    pictures, levels = seeded(3, 2, 1, 4, 8, 8), torch.tensor([[7.0], [2.5]])

    def work(critic):
        return [critic.denoise(x, level) for x, level in zip(pictures, levels)]

    each = judged.ask(critics, guided(judged), work)
    caplog.set_level("INFO")
    held = judged.ask(critics, guided(judged, every=100), work)
    assert all(map(torch.equal, held, each))
    [said] = [record.getMessage() for record in caplog.records if "every is 100" in record.getMessage()]
    assert_one_sentence(said)


def test_a_lora_changes_the_gradient_by_its_own_difference(host, minis, critics):
    judged = Judged(host, minis)
    s = judged.scene
    with_lora = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=0.7)
    plain, *_ = latent_gradient(critics, judged, s.model)
    changed, x, sigma, prediction = latent_gradient(critics, judged, with_lora)

    def guided(model):
        empty, prompt = (predicted(judged.value(model), judged.prompt(seed), x, sigma) for seed in (EMPTY, POSITIVE))
        return empty + CFG * (prompt - empty)

    expected = change_by(critics, guided(with_lora) - guided(s.model), sigma, prediction)
    assert expected.abs().max() > 1e-2
    assert torch.allclose(changed - plain, expected, atol=1e-5)


def test_a_controlnet_on_the_prompts_acts(host, minis, critics):
    judged = Judged(host, minis)
    plain, *_ = latent_gradient(critics, judged, judged.scene.model)
    control(judged.scene, minis)
    controlled, *_ = latent_gradient(critics, judged, judged.scene.model)
    assert (controlled - plain).abs().max() > 1e-3


def test_a_controlnet_of_a_part_of_the_noise_acts_there_alone_whatever_else_is_in_the_batch(host, minis, critics):
    judged = Judged(host, minis)
    s = judged.scene
    plain = s.positive, s.negative
    control(s, minis, start_percent=0.0, end_percent=0.5)
    half = s.model and judged.value(s.model).get_model_object("model_sampling").percent_to_sigma(0.5)
    levels = torch.tensor([2 * half, half / 2])
    x = seeded(3, 1, 4, 8, 8).repeat(2, 1, 1, 1)
    found = judged.ask(critics, s.model, lambda critic: critic.denoise(x, levels), shape=(2, 4, 8, 8))
    turned = judged.ask(critics, s.model, lambda critic: critic.denoise(x, levels.flip(0)), shape=(2, 4, 8, 8)).flip(0)
    s.positive, s.negative = plain
    without = judged.ask(critics, s.model, lambda critic: critic.denoise(x, levels), shape=(2, 4, 8, 8))
    assert_same(found, turned)
    assert_same(found[1:], without[1:])
    assert (found[0] - without[0]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3"])
def test_every_family_judges_a_batch_as_it_judges_its_pictures_one_by_one(host, minis, critics, family):
    judged = Judged(host, minis, family)
    x = seeded(3, 3, judged.vae_channels, 8, 8)
    for levels in (torch.full((3,), 0.5), torch.tensor([0.2, 0.5, 0.7])):

        def work(critic):
            one_by_one = [critic.denoise(x[i : i + 1], levels[i : i + 1]) for i in range(3)]
            return critic.denoise(x, levels), torch.cat(one_by_one)

        assert_same(*judged.ask(critics, judged.scene.model, work, shape=(3, judged.vae_channels, 8, 8)))


def guided(j, **inputs):
    s = j.scene
    return s.guide(s.model, s.load_domain(j.minis.domain(change=trained)), **inputs)


def mixed_calls(critics, judged, model):
    """What the critic makes of three levels in one batch, one after the other, and the batches of the network that it
    took.
    """
    x, levels = seeded(3, 3, 4, 8, 8), torch.tensor([0.2, 2.5, 7.0])
    with watch_evaluations() as evaluations:
        together = judged.ask(critics, model, lambda critic: critic.denoise(x, levels), shape=x.shape)
    alone = judged.ask(
        critics,
        model,
        lambda critic: torch.cat([critic.denoise(x[i : i + 1], levels[i : i + 1]) for i in range(3)]),
        shape=x.shape,
    )
    assert_same(together, alone)
    return [size for _, size in evaluations]


@pytest.mark.parametrize(
    "make, calls",
    [
        (lambda j: j.scene.model, [6]),
        (guided, [6, 3]),
        (lambda j: guided(j, end_percent=0.5), None),
        (lambda j: j.graph.add("RescaleCFG", model=j.scene.model, multiplier=0.7), [2, 2, 2]),
        (lambda j: j.graph.add("FreeU_V2", model=j.scene.model), [2, 2, 2]),
    ],
    ids=["plain", "guided", "guided in a range", "a cfg function", "output patches"],
)
def test_levels_are_mixed_in_one_call_where_nothing_can_mistake_them(host, minis, critics, make, calls):
    judged = Judged(host, minis)
    found = mixed_calls(critics, judged, make(judged))
    assert found == calls if calls else len(found) > 2


def half_masks(j):
    """Of the left half, of the right, and both as two masks."""
    left = j.graph.add("ProbeHalfMask")
    right = j.graph.add("InvertMask", mask=left)
    pictures = [j.graph.add("MaskToImage", mask=mask) for mask in (left, right)]
    both = j.graph.add("ImageBatch", image1=pictures[0], image2=pictures[1])
    return left, right, j.graph.add("ImageToMask", image=both, channel="red")


TWO, TWO_LEVELS = seeded(3, 2, 4, 8, 8), torch.tensor([0.2, 2.5])


def two_pictures(critics, judged, model, pictures=TWO, levels=TWO_LEVELS):
    """What the critic makes of pictures in a run for two of them."""
    return judged.ask(critics, model, lambda critic: critic.denoise(pictures, levels), shape=TWO.shape)


SINGLY = {
    "guided in a range": {"start_percent": 0.1},
    "guided to an end": {"end_percent": 0.99},
    "output patches": {},
    "a ControlNet": {},
}


@pytest.mark.parametrize("name", SINGLY)
def test_one_mask_lies_on_every_picture_also_where_levels_are_asked_one_by_one(host, minis, critics, name):
    judged = Judged(host, minis)
    if name == "a ControlNet":
        control(judged.scene, minis)
    masked, whole = (
        guided(judged, **mask, **SINGLY[name]) for mask in ({"mask": judged.graph.add("ProbeHalfMask")}, {})
    )
    if name == "output patches":
        masked, whole = (judged.graph.add("FreeU_V2", model=model) for model in (masked, whole))
    together = two_pictures(critics, judged, masked)
    alone = [two_pictures(critics, judged, masked, TWO[i : i + 1], TWO_LEVELS[i : i + 1]) for i in range(2)]
    assert_same(together, torch.cat(alone))
    assert_differs(together, two_pictures(critics, judged, whole))


@pytest.mark.parametrize("settings", [{}, {"start_percent": 0.1}], ids=str)
def test_a_picture_with_a_mask_of_its_own_keeps_it_whichever_levels_are_asked(host, minis, critics, settings):
    judged = Judged(host, minis)
    left, right, both = half_masks(judged)
    first, second = (two_pictures(critics, judged, guided(judged, mask=mask, **settings)) for mask in (left, right))
    model = guided(judged, mask=both, **settings)
    assert_same(two_pictures(critics, judged, model), torch.stack([first[0], second[1]]))
    assert_differs(first[1], second[1])
    assert_same(two_pictures(critics, judged, model, TWO[:1], TWO_LEVELS[:1]), first[:1])


def test_prompts_in_ranges_are_asked_at_one_level_each(host, minis, critics):
    judged = Judged(host, minis)
    s = judged.scene
    s.positive = s.graph.add("ConditioningSetTimestepRange", conditioning=s.positive, start=0.0, end=0.6)
    found = mixed_calls(critics, judged, s.model)
    assert sorted(found) == [1, 2, 2], "the positive prompt is not asked at the lowest level"


def test_at_cfg_1_the_negative_prompt_is_not_evaluated(host, minis, critics):
    judged = Judged(host, minis)
    x = seeded(3, 2, 4, 8, 8)
    for cfg, elements in ((1.0, 2), (7.0, 4)):
        with watch_evaluations() as evaluations:
            judged.ask(
                critics, judged.scene.model, lambda critic: critic.denoise(x, torch.ones(2)), cfg=cfg, shape=x.shape
            )
        assert evaluations.elements() == elements and len(evaluations) == 1


def test_what_the_critic_says_has_no_graph_and_can_take_part_in_one(host, minis, critics):
    judged = Judged(host, minis)

    def work(critic):
        x = seeded(3, 1, 4, 8, 8).requires_grad_()
        with torch.no_grad():
            said = critic.denoise(x, torch.ones(1))
        (x * said).sum().backward()
        return said, x.grad

    said, gradient = judged.ask(critics, judged.scene.model, work)
    assert not said.requires_grad and not said.is_inference() and torch.equal(gradient, said)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_the_gradient_through_the_vae_is_that_of_an_ordinary_copy(host, minis, critics, family):
    from comfy.taesd.taesd import TAESD

    judged = Judged(host, minis, family)
    vae, model = judged.value(judged.vae), judged.value(judged.scene.model)
    pixels, weight = seeded(5, 2, 3, 64, 64).clamp(-1, 1), seeded(6, 2, judged.vae_channels, 8, 8)

    def work(critic):
        seen = pixels.clone().requires_grad_()
        latent = critic.encode(seen)
        return latent.detach(), torch.autograd.grad(latent, seen, weight)[0]

    latent, gradient = judged.ask(critics, judged.scene.model, work, shape=(2, judged.vae_channels, 8, 8))
    copy = TAESD(latent_channels=judged.vae_channels)
    copy.load_state_dict({name: tensor.clone() for name, tensor in vae.first_stage_model.state_dict().items()})
    seen = pixels.clone().requires_grad_()
    expected = model.model.process_latent_in(copy.requires_grad_(False).encode(seen))
    assert gradient.abs().max() > 1e-4
    assert_same(latent, expected.detach())
    assert_same(gradient, torch.autograd.grad(expected, seen, weight)[0])
    with torch.inference_mode():
        assert_same(latent, model.model.process_latent_in(vae.encode((pixels.movedim(1, -1) + 1) / 2)))


def test_nothing_of_the_graph_changes_and_nothing_is_kept(host, minis, critics):
    judged = Judged(host, minis)
    s = judged.scene
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    model, vae = judged.value(guided), judged.value(judged.vae)
    prompts = judged.value(s.positive), judged.value(s.negative)
    weights = {
        id(n): {k: v.clone() for k, v in n.state_dict().items()}
        for n in (model.model.diffusion_model, vae.first_stage_model)
    }
    embeddings = [p[0][0].clone() for p in prompts]
    wrappers, models, options = (
        repr(model.wrappers),
        {k: list(v) for k, v in model.additional_models.items()},
        repr(model.model_options),
    )
    kept = []

    def work(critic):
        kept.append(weakref.ref(critic))
        x = critic.encode(seeded(5, 1, 3, 64, 64).clamp(-1, 1))
        return critic.denoise(x, torch.ones(1))

    judged.ask(critics, guided, work)
    for network in (model.model.diffusion_model, vae.first_stage_model):
        after = network.state_dict()
        assert after.keys() == weights[id(network)].keys()
        assert all(torch.equal(after[name], tensor) for name, tensor in weights[id(network)].items())
    assert all(torch.equal(p[0][0], before) for p, before in zip(prompts, embeddings))
    assert (
        repr(model.wrappers),
        {k: list(v) for k, v in model.additional_models.items()},
        repr(model.model_options),
    ) == (wrappers, models, options)
    gc.collect()
    assert kept[0]() is None


def test_the_second_vae_and_the_critics_clone_are_gone_afterwards(host, minis, critics):
    import comfy.model_management

    judged, kept = Judged(host, minis), []

    def work(critic):
        loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
        own = [patcher for patcher in loaded if patcher.model is critic._vae.patcher.model]
        assert len(own) == 1, "the VAE is loaded beside the critic"
        kept.extend(map(weakref.ref, (own[0], own[0].model)))

    judged.ask(critics, judged.scene.model, work)
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


def test_room_beside_the_critic_is_taken_while_the_host_loads_and_given_back_before_the_work(host, minis, critics):
    """On a device of its own memory, which the host would otherwise fill with weights."""
    import comfy.model_management as management

    judged, seen = Judged(host, minis), {}
    original_load, original_empty = management.load_models_gpu, torch.empty

    def empty(*shape, dtype=None, device=None):
        taken = original_empty(*shape, dtype=dtype)
        seen["taken"] = weakref.ref(taken)
        seen["size"], seen["device"] = taken.nbytes, device
        return taken

    def load(*args, **kwargs):
        seen["while loading"] = seen["taken"]() is not None
        return original_load(*args, **kwargs)

    def work(guider, predict):
        seen["at work"] = seen["taken"]() is not None

    model, vae = judged.value(judged.scene.model), judged.value(judged.vae)
    with torch.inference_mode(False):
        own = critics.vae.DifferentiableVae(vae)
    freed = []
    with (
        patch.object(management, "is_device_cpu", lambda device: False),
        patch.object(management, "free_memory", lambda *a, **k: freed.append(a) or []),
        patch.object(management, "load_models_gpu", load),
        patch.object(critics.sampler.torch, "empty", empty),
    ):
        reserve = critics.sampler._kept_free(12345, model.load_device)
        assert (seen["size"], freed[0][0]) == (12345, 12345)
        with patch.object(management, "get_free_memory", lambda device: 1000):
            assert len(critics.sampler._kept_free(12345, model.load_device)) < 1000, "more than a small device has"
    del reserve
    with (
        patch.object(critics.sampler, "_kept_free", lambda room, device: empty(room, dtype=torch.uint8)),
        patch.object(management, "load_models_gpu", load),
    ):
        critics.sampler.inside_sampler(
            model,
            own,
            judged.value(judged.scene.positive),
            judged.value(judged.scene.negative),
            cfg=1.0,
            shape=(1, 4, 8, 8),
            sigmas=torch.tensor([1.0, 0.0]),
            seed=0,
            work=work,
            room=12345,
        )
    assert (seen["while loading"], seen["at work"]) == (True, False)
