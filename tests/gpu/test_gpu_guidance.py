"""Guidance on a GPU: in every type of weights, off the device, and compiled."""

import pytest
import torch
from mini_models import trained
from scenes import assert_differs, build, distance
from small_card import small_card

TYPES = ["default", "fp8_e4m3fn"]
# Of a whole sampling in fp16 arithmetic, whose numbers have 11 binary digits.
HALF = 2e-2


def scene(minis, weight_dtype):
    s = build(minis)
    s.model = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype=weight_dtype)
    return s


@pytest.mark.parametrize("weight_dtype", TYPES)
def test_weight_zero_gives_the_hosts_latent_bit_for_bit(host, minis, weight_dtype):
    s = scene(minis, weight_dtype)
    domain = s.load_domain(minis.domain(change=trained), weight_dtype=weight_dtype)
    plain = host.samples(s.graph, s.sample(s.model))
    assert torch.equal(host.samples(s.graph, s.sample(s.guide(s.model, domain, weight=0.0))), plain)


@pytest.mark.parametrize("weight_dtype", TYPES)
def test_an_untrained_domain_adds_no_more_than_rounding_and_a_trained_one_acts(host, minis, weight_dtype):
    s = scene(minis, weight_dtype)
    plain = host.samples(s.graph, s.sample(s.model))
    for change, acts in ((None, False), (trained, True)):
        domain = s.load_domain(minis.domain(**({"change": change} if change else {})), weight_dtype=weight_dtype)
        guided = host.samples(s.graph, s.sample(s.guide(s.model, domain)))
        assert torch.isfinite(guided).all()
        if acts:
            assert_differs(guided, plain)
        else:
            assert distance(guided, plain) < HALF


@pytest.mark.parametrize("weight_dtype", TYPES)
def test_an_adapter_on_shared_weights_guides_as_a_separately_patched_copy(host, minis, weight_dtype):
    s = scene(minis, weight_dtype)
    lora = minis.lora()
    shared = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=lora, strength_model=1.0)
    copy = s.graph.add("UNETLoader", unet_name=minis.unet("sd15"), weight_dtype="default")
    patched = s.graph.add("LoraLoaderModelOnly", model=copy, lora_name=lora, strength_model=1.0)
    results = [
        host.samples(s.graph, s.sample(s.guide(s.model, domain, domain_conditioning=s.negative)))
        for domain in (shared, patched)
    ]
    assert_differs(results[0], host.samples(s.graph, s.sample(s.model)))
    if weight_dtype == "default":
        assert distance(*results) < HALF


def test_weights_that_are_left_off_the_device_guide_as_those_on_it(host, minis):
    s = build(minis)
    guided = s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained))))
    expected = host.samples(s.graph, guided)
    with small_card() as left_off:
        found = host.value(s.graph, guided, fresh=True)["samples"]
        assert len({id(model) for model in left_off}) == 2
    assert distance(found.cpu(), expected.cpu()) < HALF


def test_a_compiled_model_is_guided_as_one_that_is_not(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    compiled = s.graph.add("TorchCompileModel", model=s.model, backend="inductor")
    results = [host.samples(s.graph, s.sample(s.guide(model, domain))) for model in (s.model, compiled)]
    assert_differs(results[0], host.samples(s.graph, s.sample(s.model)))
    assert distance(results[1].cpu(), results[0].cpu()) < HALF
