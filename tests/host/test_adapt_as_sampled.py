"""What the critic says is what the host's own sampler would see in its first step, whatever is on the MODEL and in the
prompts.
"""

import host_process
import pytest
import torch
from critics import Critics, Judged
from mini_models import trained
from probe_nodes import seeded
from scenes import OTHER, assert_differs, assert_same, control

CFG, SIGMA = 4.0, 2.0
IP_ADAPTER = host_process.IP_ADAPTER_PACK


@pytest.fixture(scope="module")
def critics(host):
    return Critics.of(host)


def plain(j):
    return j.scene.model


def rescaled(j):
    return j.graph.add("RescaleCFG", model=plain(j), multiplier=0.7)


def guided(j):
    return j.scene.guide(plain(j), j.scene.load_domain(j.minis.domain(change=trained)), weight=2.0)


def guided_on_the_left(j):
    mask = j.graph.add("ProbeHalfMask", height=64, width=64)
    return j.scene.guide(plain(j), j.scene.load_domain(j.minis.domain(change=trained)), weight=2.0, mask=mask)


def guided_late(j):
    """Not at this level of noise."""
    return j.scene.guide(plain(j), j.scene.load_domain(j.minis.domain(change=trained)), weight=2.0, start_percent=0.9)


def with_a_term(j):
    return j.graph.add("DomainGuidanceTerm", model=plain(j), conditioning=j.scene.prompt(OTHER), weight=1.5)


def with_freeu(j):
    return j.graph.add("FreeU_V2", model=plain(j))


def ip_adapted(j):
    """The real IPAdapter_plus, on a guided model."""
    return j.graph.add(
        "IPAdapterAdvanced",
        model=guided(j),
        weight=1.0,
        image=j.graph.add("ProbeImage", seed=8, height=224, width=224),
        ipadapter=j.graph.add("IPAdapterModelLoader", ipadapter_file=j.minis.ip_adapter()),
        clip_vision=j.graph.add("ProbeClipVision"),
    )


def quantised(j):
    """A MODEL that cannot be copied or read a second time, as GGUF loaders make them."""
    return j.graph.add("ProbeQuantised", unet_name=j.minis.unet("sd15"))


def in_eight_bits(j):
    return j.graph.add("UNETLoader", unet_name=j.minis.unet("sd15"), weight_dtype="fp8_e4m3fn")


def controlled(j):
    control(j.scene, j.minis)
    return plain(j)


def in_areas(j):
    """A second prompt on the right half, strong, and the first one masked to the left."""
    right = j.graph.add(
        "ConditioningSetAreaPercentage",
        conditioning=j.scene.prompt(OTHER),
        width=0.5,
        height=1.0,
        x=0.5,
        y=0.0,
        strength=1.3,
    )
    mask = j.graph.add("ProbeHalfMask", height=64, width=64)
    left = j.graph.add(
        "ConditioningSetMask", conditioning=j.scene.positive, mask=mask, strength=0.8, set_cond_area="default"
    )
    j.scene.positive = j.graph.add("ConditioningCombine", conditioning_1=right, conditioning_2=left)
    return plain(j)


def in_ranges(j):
    """Two prompts, each in a range of the noise levels."""
    early = j.graph.add("ConditioningSetTimestepRange", conditioning=j.scene.prompt(OTHER), start=0.0, end=0.6)
    late = j.graph.add("ConditioningSetTimestepRange", conditioning=j.scene.positive, start=0.6, end=1.0)
    j.scene.positive = j.graph.add("ConditioningCombine", conditioning_1=early, conditioning_2=late)
    return plain(j)


def hooked(j):
    """A LoRA on the positive prompt alone."""
    hook = j.graph.add("CreateHookLoraModelOnly", lora_name=j.minis.lora(), strength_model=0.8)
    j.scene.positive = j.graph.add(
        "PairConditioningSetProperties",
        positive_NEW=j.scene.positive,
        negative_NEW=j.scene.negative,
        strength=1.0,
        set_cond_area="default",
        hooks=hook,
    )
    return plain(j)


MAKERS = (
    plain,
    rescaled,
    guided,
    guided_on_the_left,
    guided_late,
    with_a_term,
    with_freeu,
    quantised,
    in_eight_bits,
    controlled,
    in_areas,
    in_ranges,
    hooked,
)


def first_step(j, model, x, sigma):
    """The denoised prediction of a KSampler's first step: one step of Euler from `sigma` to 0 ends in it."""
    import comfy.sample
    import comfy.samplers

    patcher = j.value(model)
    s, network = j.scene, patcher.model
    result = comfy.sample.sample_custom(
        patcher,
        torch.zeros_like(x),
        CFG,
        comfy.samplers.ksampler("euler"),
        torch.tensor([sigma, 0.0]),
        j.value(s.positive),
        j.value(s.negative),
        network.process_latent_out(x),
        disable_pbar=True,
        seed=0,
    )
    return network.process_latent_in(result)


@pytest.mark.skipif(not IP_ADAPTER.is_dir(), reason=f"IPAdapter_plus is not installed at {IP_ADAPTER}")
def test_the_critic_sees_an_ip_adapter_as_a_sampler_does(host, minis, critics):
    host_process.load_pack(IP_ADAPTER)
    judged = Judged(host, minis)
    model, x = ip_adapted(judged), 1.5 * seeded(3, 2, 4, 8, 8)
    said = judged.ask(critics, model, lambda critic: critic.denoise(x, torch.full((2,), SIGMA)), cfg=CFG, shape=x.shape)
    with torch.inference_mode():
        assert_same(said, first_step(judged, model, x, SIGMA))
    without = judged.ask(
        critics, guided(judged), lambda critic: critic.denoise(x, torch.full((2,), SIGMA)), cfg=CFG, shape=x.shape
    )
    assert_differs(said, without, at_least=1e-3)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_the_critic_says_what_a_sampler_would_see(host, minis, critics, make, batch):
    judged = Judged(host, minis, "sd15_middle" if make is with_freeu else "sd15")
    model = make(judged)
    x = 1.5 * seeded(3, batch, 4, 8, 8)
    said = judged.ask(
        critics, model, lambda critic: critic.denoise(x, torch.full((batch,), SIGMA)), cfg=CFG, shape=(batch, 4, 8, 8)
    )
    with torch.inference_mode():
        assert_same(said, first_step(judged, model, x, SIGMA))
    if make not in (plain, guided_late):
        bare = Judged(host, minis, judged.family)
        assert_differs(
            said,
            bare.ask(critics, plain(bare), lambda critic: critic.denoise(x, torch.full((batch,), SIGMA)), cfg=CFG),
            at_least=1e-3,
        )
