"""Bad input ends in one sentence: what came, what was expected, what to do.

Never a traceback from torch, never silence.
"""

import pytest
from host_process import PromptError
from messages import refusal, warnings_of
from mini_models import trained
from safetensors.torch import load_file, save_file
from scenes import EMPTY, assert_differs, assert_one_sentence, assert_same, build, control


def damaged(minis, name, damage):
    """A domain file of its own whose bytes were changed by `damage(path)`."""
    minis.domain(name=name)
    damage(minis.root / "diffusion_models" / name)
    return name


def rewritten(minis, name, change):
    """A domain file whose tensors were changed, with its card kept."""
    from safetensors import safe_open

    def damage(path):
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata()
        tensors = load_file(str(path))
        change(tensors)
        save_file(tensors, str(path), metadata)

    return damaged(minis, name, damage)


def test_latents_of_another_number_of_channels(host, minis):
    s = build(minis, "sd3")
    toy = s.graph.add("DomainGuidanceToyWorld", digit="3", stroke="any", ground="any", batch_size=1)
    s15 = build(minis)
    toy15 = s15.graph.add("DomainGuidanceToyWorld", digit="3", stroke="any", ground="any", batch_size=1)
    assert "channel" in refusal(host, s15, s15.sample(s15.guide(s15.model, toy15[1])))
    assert refusal(host, s, s.sample(s.guide(s.model, toy[1])))


def test_latents_of_another_family_with_as_many_channels(host, minis):
    s = build(minis, "sd3")
    flux = s.load_domain(minis.domain("flux"))
    assert "latent" in refusal(host, s, s.sample(s.guide(s.model, flux)))


def test_flow_with_noise_prediction(host, minis):
    s = build(minis)
    flow = s.graph.add("ModelSamplingSD3", model=s.model, shift=3.0)
    assert "flow" in refusal(host, s, s.sample(s.guide(flow, s.load_domain(minis.domain(change=trained)))))


def test_flow_that_begins_only_after_the_node(host, minis):
    """ModelSampling nodes below the node replace the sampling that the node saw."""
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)))
    assert "flow" in refusal(host, s, s.sample(s.graph.add("ModelSamplingSD3", model=guided, shift=3.0)))


@pytest.mark.parametrize("check", ["check_pair", "check_noising"])
def test_a_domain_on_another_device_than_the_model(host, minis, check):
    """As Select Model Device may put it, before the node or after it."""
    import torch

    s = build(minis)
    model, domain = (host.value(s.graph, link) for link in (s.model, s.load_domain(minis.domain(change=trained))))
    checked = getattr(host.library("nodes.comfy_host.guidance.compatibility"), check)
    checked(model, domain, "domain_model")
    moved = domain.clone()
    moved.load_device = torch.device("meta")  # this machine has one device; here it is a name
    with pytest.raises(ValueError, match="domain_model computes on meta, but model on") as refused:
        checked(model, moved, "domain_model")
    assert_one_sentence(str(refused.value))


def test_a_fine_tuned_checkpoint_without_an_empty_prompt(host, minis):
    s = build(minis)
    tuned = s.load(minis.fine_tuned("sd15"))
    assert "domain_conditioning" in refusal(host, s, s.sample(s.guide(s.model, tuned)))
    fed = s.guide(s.model, tuned, domain_conditioning=s.prompt(EMPTY))
    assert_differs(host.samples(s.graph, s.sample(fed)), host.samples(s.graph, s.sample(s.model)))


def test_a_domain_model_that_adds_nothing_is_named(host, minis, caplog):
    """The raw checkpoint under a LoRA of the user's: there is nothing to draw in, and silence would look like a broken
    node.
    """
    s = build(minis)
    base = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=1.0)
    guided = s.guide(base, s.model, domain_conditioning=s.prompt(EMPTY))
    (message,) = warnings_of(host, s, s.sample(guided, cfg=3.0), caplog, 134)
    assert_one_sentence(message)
    assert "no domain" in message


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_an_empty_prompt_without_the_pooled_vector_that_the_family_needs(host, minis, family):
    s = build(minis, family)
    dim = {"sdxl": 2048, "sd3": 64}[family]
    without = s.graph.add("ProbeConditioning", seed=0, dim=dim, pooled=0)
    guided = s.guide(s.model, s.load_domain(minis.domain(family)), domain_conditioning=without)
    assert "pooled" in refusal(host, s, s.sample(guided))


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_a_domain_file_without_the_pooled_vector_that_the_family_needs(host, minis, family):
    s = build(minis, family)
    name = minis.domain(family, name=f"{family}_no_pooled.safetensors", with_pooled=False)
    assert "pooled" in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(name))))


def test_an_empty_prompt_of_another_width(host, minis):
    """The encoded prompt of another family, connected by mistake, is not left to torch's matrix product."""
    s = build(minis)
    wide = s.graph.add("ProbeConditioning", seed=0, dim=1024)
    assert refusal(
        host, s, s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained)), domain_conditioning=wide))
    )


def test_a_domain_file_without_an_embedding(host, minis):
    s = build(minis)
    name = rewritten(minis, "no_embedding.safetensors", lambda tensors: tensors.pop("domain.cross_attn"))
    assert "embedding" in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(name))))


def test_a_truncated_file(host, minis):
    s = build(minis)
    name = damaged(minis, "truncated.safetensors", lambda path: path.write_bytes(path.read_bytes()[:100_000]))
    assert name in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(name))))


def test_a_file_that_is_not_safetensors(host, minis):
    s = build(minis)
    name = damaged(
        minis, "no_safetensors.safetensors", lambda path: path.write_bytes(b"PK\x03\x04 this was a zip archive" * 50)
    )
    assert name in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(name))))


def test_a_path_outside_of_the_model_folders(host, minis, tmp_path):
    """The host's list of files refuses it first; the node itself refuses it too, because a combo is no guard."""
    import nodes

    s = build(minis)
    outside = tmp_path / "stolen.safetensors"
    outside.write_bytes((minis.root / "diffusion_models" / minis.domain()).read_bytes())
    for name in (str(outside), "../" * 12 + str(outside).lstrip("/"), "../checkpoints/x.safetensors"):
        with pytest.raises(PromptError):
            host.samples(s.graph, s.sample(s.guide(s.model, s.load_domain(name))))
        node = nodes.NODE_CLASS_MAPPINGS["DomainGuidanceLoadUNet"]
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            node.execute(unet_name=name, weight_dtype="default")
        assert_one_sentence(str(caught.value))


def test_nan_in_the_weights(host, minis):
    s = build(minis)

    def poison(tensors):
        tensors["model.diffusion_model.out.2.weight"][0, 0, 0, 0] = float("nan")

    name = rewritten(minis, "nan.safetensors", poison)
    assert "NaN" in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(name))))


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.8, 0.2)])
def test_an_empty_interval(host, minis, start, end):
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)), start_percent=start, end_percent=end)
    assert "percent" in refusal(host, s, s.sample(guided))


def test_a_mask_of_another_shape(host, minis):
    s = build(minis)
    mask = s.graph.add("SolidMask", value=1.0, width=200, height=64)
    assert "200" in refusal(host, s, s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained)), mask=mask)))


def test_a_mask_of_the_pictures_shape_in_another_resolution_is_fine(host, minis):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    mask = s.graph.add("SolidMask", value=1.0, width=512, height=512)
    assert_same(
        host.samples(s.graph, s.sample(s.guide(s.model, domain, mask=mask))),
        host.samples(s.graph, s.sample(s.guide(s.model, domain))),
    )


def test_mixed_quantisation_is_said_once_per_run(host, minis, caplog):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained), weight_dtype="fp8_e4m3fn")
    messages = warnings_of(host, s, s.sample(s.guide(s.model, domain), cfg=3.0), caplog, 131)
    assert len(messages) == 1 and "weight_dtype" in messages[0]
    assert_one_sentence(messages[0].split(". ")[0] + ".")


@pytest.mark.parametrize("beside", ["ControlNet", "patch"])
def test_another_architecture_under_patches_or_control_is_said_and_both_sides_do_without(host, minis, caplog, beside):
    s = build(minis)
    model = s.model
    if beside == "ControlNet":
        control(s, minis, strength=1.0)
    else:
        model = s.graph.add("HyperTile", model=model, tile_size=64)
    deeper = s.load_domain(minis.domain("sd15_middle"))
    messages = warnings_of(host, s, s.sample(s.guide(model, deeper), cfg=3.0), caplog, 132)
    assert len([message for message in messages if "architecture" in message]) == 1


def test_another_architecture_alone_needs_no_word(host, minis, caplog):
    s = build(minis)
    deeper = s.load_domain(minis.domain("sd15_middle"))
    messages = warnings_of(host, s, s.sample(s.guide(s.model, deeper), cfg=3.0), caplog, 133)
    assert not any("architecture" in message for message in messages)


def test_another_base_is_said_exactly_once(host, minis, caplog):
    """The fingerprint in the card is of another base; one line per run of the Apply node, none on a second sampling."""
    s = build(minis)
    stranger = s.load_domain(minis.domain(change=trained, base_family="sd15"))
    link = s.sample(s.guide(s.model, stranger), cfg=3.0)
    messages = warnings_of(host, s, link, caplog, 134)
    assert len(messages) == 1 and "base" in messages[0]
    assert_one_sentence(messages[0])
    assert not warnings_of(host, s, link, caplog, 135)


def test_a_base_whose_weights_cannot_be_read_is_guided_without_a_word(host, minis, caplog, monkeypatch):
    """GGUF loaders give their packed weights as tensors without values."""
    s = build(minis)
    stranger = s.load_domain(minis.domain(change=trained, base_family="sd15"))
    unet = host.value(s.graph, s.model).model.diffusion_model
    readable = unet.state_dict
    monkeypatch.setattr(
        unet, "state_dict", lambda *a, **k: {name: tensor.to("meta") for name, tensor in readable(*a, **k).items()}
    )
    assert not warnings_of(host, s, s.sample(s.guide(s.model, stranger, weight=1.2), cfg=3.0), caplog, 138)


def test_the_right_base_is_not_worth_a_word(host, minis, caplog):
    s = build(minis)
    domain = s.load_domain(minis.domain(change=trained))
    assert not warnings_of(host, s, s.sample(s.guide(s.model, domain), cfg=3.0), caplog, 136)
    # Its weights may be on the device under a LoRA's patch by then; the fingerprint is of the file.
    patched = s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=minis.lora(), strength_model=1.0)
    host.samples(s.graph, s.sample(patched))
    assert not warnings_of(host, s, s.sample(s.guide(patched, domain), cfg=3.0), caplog, 137)


def test_a_sum_of_cfg_and_weight_that_burns_is_said(host, minis, caplog):
    s = build(minis)
    link = s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained)), weight=2.5), cfg=8.0)
    messages = warnings_of(host, s, link, caplog, 138)
    assert len(messages) == 1 and "cfg" in messages[0]


def test_a_domain_with_another_text_encoder_has_the_negative_prompt_subtracted_and_says_so(host, minis, caplog):
    """The stored empty prompt is the domain's; a base of another text width cannot read it, the sampler's negative it
    can.
    """
    s = build(minis)
    wide = s.load_domain(minis.domain("sd20"))
    link = s.sample(s.guide(s.model, wide, weight=1.0), cfg=0.0)
    messages = warnings_of(host, s, link, caplog, 139)
    assert len([message for message in messages if "negative prompt" in message]) == 1
    alone = s.sample(wide, positive=s.graph.add("ProbeConditioning", seed=0, dim=1024), cfg=1.0, seed=139)
    assert_same(host.samples(s.graph, link), host.samples(s.graph, alone))
