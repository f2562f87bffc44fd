"""A domain adapter: LoRA-sized, on the weights of the base, with the empty prompt that it was trained with."""

import functools
import logging

import mini_models
import pytest
import torch
from domain_adapters import domain_adapter
from messages import refusal
from probe_nodes import integers, widened
from scenes import EMPTY, OTHER, assert_differs, assert_one_sentence, assert_same, build, control
from watchers import watch_evaluations

FP8 = torch.float8_e4m3fn


@pytest.fixture
def adapters(host, minis):
    return functools.partial(domain_adapter, host, minis)


def load(s, model, name, **inputs):
    return s.graph.add("DomainGuidanceLoadAdapter", model=model, lora_name=name, **inputs)


def patched_copy(s, minis, strength=1.0):
    """The base from another file with the same LoRA through the host's own loader: a second network."""
    return s.graph.add(
        "LoraLoaderModelOnly",
        model=s.load_domain(minis.domain(s.family)),
        lora_name=minis.lora(s.family),
        strength_model=strength,
    )


@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_an_adapter_guides_as_a_separately_patched_copy_of_the_whole_network_does(
    host, minis, adapters, family, negative
):
    s = build(minis, family, negative=negative)
    adapter = s.guide(s.model, load(s, s.model, adapters(family)))
    separate = s.guide(s.model, patched_copy(s, minis), domain_conditioning=s.prompt(EMPTY))
    result = host.samples(s.graph, s.sample(adapter))
    assert_same(result, host.samples(s.graph, s.sample(separate)))
    assert_differs(result, host.samples(s.graph, s.sample(s.model)), at_least=1e-3)


@pytest.mark.parametrize("strength", [0.5, -1.0])
def test_strength_is_that_of_the_lora(host, minis, adapters, strength):
    s = build(minis)
    adapter = s.guide(s.model, load(s, s.model, adapters(), strength=strength))
    separate = s.guide(s.model, patched_copy(s, minis, strength), domain_conditioning=s.prompt(EMPTY))
    assert_same(host.samples(s.graph, s.sample(adapter)), host.samples(s.graph, s.sample(separate)))


def fp8_values(name, tensor):
    return tensor.to(FP8).float()


def integer_values(name, tensor):
    return widened(integers(tensor)) if tensor.dim() == 2 else tensor


@pytest.mark.parametrize("kind", ["fp8", "integers"])
def test_an_adapter_on_a_quantised_base_guides_as_a_copy_patched_in_full_precision_and_leaves_the_weights_alone(
    host, minis, adapters, kind
):
    """A LoRA added to narrow weights would be rounded away.

    Expected: the narrow values, widened, with the LoRA added to them.
    """
    s = build(minis, negative=OTHER)
    values = fp8_values if kind == "fp8" else integer_values
    wide, copy = (s.load(minis.changed(values, f"{kind}_{number}.safetensors")) for number in (1, 2))
    patched = s.graph.add("LoraLoaderModelOnly", model=copy, lora_name=minis.lora(), strength_model=1.0)
    expected = host.samples(s.graph, s.sample(s.guide(wide, patched, domain_conditioning=s.prompt(EMPTY))))
    if kind == "fp8":
        base = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="fp8_e4m3fn")
    else:
        base = s.graph.add("ProbeQuantised", unet_name=minis.unet("sd15"))
    before = {name: tensor.clone() for name, tensor in stored(host, s, base).items()}
    assert {FP8 if kind == "fp8" else torch.int8} <= {tensor.dtype for tensor in before.values()}
    assert_same(host.samples(s.graph, s.sample(s.guide(base, load(s, base, adapters())))), expected)
    after = stored(host, s, base)
    assert all(torch.equal(before[name].view(torch.uint8), after[name].view(torch.uint8)) for name in before)
    assert_differs(expected, host.samples(s.graph, s.sample(base)), at_least=1e-3)


def stored(host, s, link):
    return host.value(s.graph, link).model.diffusion_model.state_dict()


def test_an_adapter_is_evaluated_on_one_network_which_is_bit_identical_afterwards(host, minis, adapters):
    s = build(minis)
    base = host.value(s.graph, s.model)
    before = {name: tensor.clone() for name, tensor in base.model.diffusion_model.state_dict().items()}
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(s.guide(s.model, load(s, s.model, adapters())), seed=311))
    assert len(seen.models()) == 1 and seen.elements(1, 3) == 3
    assert all(torch.equal(before[name], tensor) for name, tensor in base.model.diffusion_model.state_dict().items())


def test_the_hosts_own_lora_loader_makes_the_same_domain_of_it(host, minis, adapters):
    s = build(minis, negative=OTHER)
    core = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=adapters(), strength_model=1.0)
    assert_same(
        host.samples(s.graph, s.sample(s.guide(s.model, core))),
        host.samples(s.graph, s.sample(s.guide(s.model, load(s, s.model, adapters())))),
    )


@pytest.mark.parametrize("bypass", [False, True])
def test_a_lora_model_is_a_domain_through_the_hosts_own_loader(host, minis, bypass):
    """With bypass the host runs the LoRA beside the weights itself."""
    s = build(minis)
    made = s.graph.add("ProbeLora", lora_name=minis.lora())
    domain = s.graph.add("LoraModelLoader", model=s.model, lora=made, strength_model=1.0, bypass=bypass)
    guided = s.guide(s.model, domain, domain_conditioning=s.prompt(EMPTY))
    separate = s.guide(s.model, patched_copy(s, minis), domain_conditioning=s.prompt(EMPTY))
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(separate)))


def test_what_the_hosts_own_trainer_has_trained_is_a_domain_through_its_own_loader(host, minis):
    """Its LoRA changes biases and norms, too. On shared weights it has to guide as it does on a second copy."""
    s = build(minis, latent_seed=5)
    trained = s.graph.add(
        "TrainLoraNode",
        model=s.model,
        latents=s.latent,
        positive=s.prompt(EMPTY),
        steps=2,
        rank=4,
        learning_rate=0.01,
        training_dtype="none",
        lora_dtype="fp32",
        bucket_mode=False,
        bypass_mode=False,
    )

    def guided_by(network):
        domain = s.graph.add("LoraModelLoader", model=network, lora=trained, strength_model=1.0)
        return host.samples(s.graph, s.sample(s.guide(s.model, domain, domain_conditioning=s.prompt(EMPTY))))

    shared = guided_by(s.model)
    assert_same(shared, guided_by(s.load_domain(minis.domain())))
    assert_differs(shared, host.samples(s.graph, s.sample(s.model)), at_least=1e-4)


def test_an_adapter_on_another_base_of_the_family_is_told_once_how_it_is_used_there(host, minis, adapters, caplog):
    """Base + adapter minus base is the adapter's own difference, whatever the base: the fingerprint is no reason to
    warn. Trained on the raw model and used on its distilled one is how most adapters are used.
    """
    s = build(minis)
    stranger = adapters(base_fingerprint="0" * 16)
    with caplog.at_level(logging.INFO):
        host.samples(s.graph, s.sample(s.guide(s.model, load(s, s.model, stranger)), cfg=3.0, seed=312))
    (record,) = [record for record in caplog.records if "Domain Guidance" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert "was trained on mini sd15" in record.getMessage() and "cfg 1 with reference 'prompt'" in record.getMessage()


def test_an_ordinary_lora_is_refused_with_what_to_connect_instead(host, minis):
    s = build(minis)
    message = refusal(host, s, load(s, s.model, minis.lora()))
    assert "Load LoRA" in message and "domain_conditioning" in message


def test_an_adapter_for_another_network_is_refused(host, minis, adapters):
    s = build(minis)
    assert "mini sdxl" in refusal(host, s, load(s, s.model, adapters("sdxl")))


def test_a_truncated_adapter_is_refused(host, minis, adapters):
    s = build(minis)
    (minis.root / "loras" / "torn.safetensors").write_bytes((minis.root / "loras" / adapters()).read_bytes()[:50_000])
    assert "torn" in refusal(host, s, load(s, s.model, "torn.safetensors"))


# Few-step models: the prompt on both sides.


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_at_cfg_one_weight_one_with_reference_prompt_is_the_plain_lora(host, minis, adapters, family):
    s = build(minis, family, negative=OTHER)
    guided = s.guide(s.model, load(s, s.model, adapters(family)), weight=1.0, reference="prompt")
    plain = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(family), strength_model=1.0)
    result = host.samples(s.graph, s.sample(guided, cfg=1.0))
    assert_same(result, host.samples(s.graph, s.sample(plain, cfg=1.0)))
    assert_differs(result, host.samples(s.graph, s.sample(s.model, cfg=1.0)), at_least=1e-3)


@pytest.mark.parametrize("weight", [0.4, 2.0, -1.0])
def test_reference_prompt_adds_the_adapters_difference_at_the_prompt_to_any_cfg(host, minis, adapters, weight):
    s = build(minis, negative=OTHER)
    guided = s.guide(s.model, load(s, s.model, adapters()), weight=weight, reference="prompt")

    def alone(model):
        return host.samples(s.graph, s.sample(model, cfg=1.0, steps=1))

    expected = host.samples(s.graph, s.sample(s.model, steps=1)) + weight * (
        alone(patched_copy(s, minis)) - alone(s.model)
    )
    assert_same(host.samples(s.graph, s.sample(guided, steps=1)), expected)


def test_reference_prompt_needs_no_empty_prompt_of_a_fine_tuned_checkpoint(host, minis):
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    guided = s.guide(s.model, tuned, weight=1.0, reference="prompt")
    assert_same(host.samples(s.graph, s.sample(guided, cfg=1.0)), host.samples(s.graph, s.sample(tuned, cfg=1.0)))


def test_reference_prompt_keeps_regions_controls_and_hooks_of_the_prompt_on_both_sides(host, minis, adapters):
    """An adapter of weight one is the plain LoRA on the same prompt, whatever the prompt carries."""
    s = build(minis, size=(16, 16))
    control(s, minis, strength=1.0)
    hook = s.graph.add(
        "CreateHookLora",
        lora_name=minis.lora(name="hooked.safetensors", seed=81),
        strength_model=0.5,
        strength_clip=0.0,
    )
    hooked = s.graph.add("ConditioningSetProperties", cond_NEW=s.positive, hooks=hook)
    corner = s.graph.add("ConditioningSetArea", conditioning=s.prompt(3), width=64, height=64, x=64, y=64, strength=0.8)
    positive = s.graph.add("ConditioningCombine", conditioning_1=hooked, conditioning_2=corner)
    guided = s.guide(s.model, load(s, s.model, adapters()), weight=1.0, reference="prompt")
    plain = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=1.0)
    results = [host.samples(s.graph, s.sample(model, positive=positive, cfg=1.0)) for model in (guided, plain)]
    assert_same(*results)


def test_with_reference_prompt_and_another_network_a_lora_hook_stays_out_of_both_sides_of_the_term(host, minis):
    """The host has tied the hook to the weights of the sampler's model; on one side only it would become part of the
    domain.
    """
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    hook = s.graph.add("CreateHookLora", lora_name=minis.lora(), strength_model=1.0, strength_clip=0.0)
    hooked = s.graph.add("ConditioningSetProperties", cond_NEW=s.positive, hooks=hook)

    def one_step(model, positive, cfg):
        return host.samples(s.graph, s.sample(model, positive=positive, cfg=cfg, steps=1))

    guided = s.guide(s.model, tuned, weight=0.7, reference="prompt")
    expected = one_step(s.model, hooked, 5.0) + 0.7 * (
        one_step(tuned, s.positive, 1.0) - one_step(s.model, s.positive, 1.0)
    )
    assert_same(one_step(guided, hooked, 5.0), expected)


def said(host, s, link, caplog, level=logging.WARNING):
    with caplog.at_level(level):
        caplog.clear()
        host.samples(s.graph, link)
    return [record.getMessage() for record in caplog.records if "Domain Guidance" in record.getMessage()]


def test_a_whole_network_beside_a_distilled_base_is_said_in_one_line(host, minis, caplog):
    """A prompt at cfg 1 and a domain that was not trained from this very model."""
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    (message,) = said(
        host, s, s.sample(s.guide(s.model, tuned, domain_conditioning=s.prompt(EMPTY)), cfg=1.0, seed=321), caplog
    )
    assert "reference_model" in message and "distilled" in message
    assert_one_sentence(message)


@pytest.mark.parametrize(
    "case", ["cfg above 1", "no prompt", "reference_model", "reference prompt", "adapter", "trained from it"]
)
def test_nothing_is_said_of_distillation_where_there_is_no_sign_of_it(host, minis, adapters, caplog, case):
    s = build(minis)
    tuned, inputs, sampling = s.load(minis.fine_tuned("sd15")), {"domain_conditioning": s.prompt(EMPTY)}, {"cfg": 1.0}
    if case == "cfg above 1":
        sampling = {"cfg": 2.0}
    elif case == "no prompt":
        sampling["positive"] = s.prompt(EMPTY)
    elif case == "reference_model":
        inputs["reference_model"] = s.model
    elif case == "reference prompt":
        inputs = {"reference": "prompt"}
    elif case == "adapter":
        tuned = load(s, s.model, adapters())
    else:
        tuned = s.load_domain(minis.domain(change=mini_models.trained))
    assert not said(host, s, s.sample(s.guide(s.model, tuned, **inputs), seed=322, **sampling), caplog)


def test_a_text_free_domain_with_reference_prompt_is_said(host, minis, caplog):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=mini_models.without_text, form="text-free"))
    (message,) = said(
        host, s, s.sample(s.guide(s.model, domain, weight=0.5, reference="prompt"), cfg=3.0, seed=323), caplog
    )
    assert "text-free" in message
    assert_one_sentence(message)
