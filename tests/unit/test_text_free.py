"""Taking the text out of a UNet. Oracle: under a prompt of equal tokens every cross-attention *is* a constant."""

import pytest
import torch
from torch import nn

from domain_guidance.domains import text_free
from domain_guidance.domains.unet_layouts import diffusers_to_host
from domain_guidance.toy_world.model import UNET_CONFIG, build_unet, predict


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return build_unet().eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 3, 16, 16, generator=generator), torch.tensor([5, 400, 990])


def prompt(seed, tokens=4):
    return torch.randn(3, tokens, 32, generator=torch.Generator().manual_seed(seed))


def equal_tokens(seed=7):
    return prompt(seed, tokens=1)[:1].expand(3, 4, 32)


def text_free_state(unet, inputs, empty):
    attentions = text_free.cross_attentions(unet)
    estimates = text_free.measure_constants(lambda *batch: predict(unet, *batch), attentions, [(*inputs, empty)])
    return text_free.make_text_free(unet.state_dict(), {name: found.constant for name, found in estimates.items()})


class Echo(nn.Module):
    def forward(self, tokens):
        return tokens


def measure_echo(*batches):
    echo = Echo()
    return text_free.measure_constants(echo, {"attn2": echo}, [(batch,) for batch in batches])["attn2"]


def test_the_constant_is_the_mean_over_images_and_tokens_of_all_batches():
    one, two = torch.randn(2, 5, 3), torch.randn(7, 5, 3) + 4
    expected = torch.cat([one, two]).mean((0, 1))
    torch.testing.assert_close(measure_echo(one, two).constant, expected)


def test_the_residual_is_what_a_constant_misses_as_a_share_of_the_output():
    assert measure_echo(torch.full((2, 4, 3), 1.5)).residual == 0
    assert measure_echo(torch.tensor([[[2.0], [-2.0]]])).residual == pytest.approx(1)
    # 3 + 4 cos: power 9 + 16 around a mean of 3.
    assert measure_echo(torch.tensor([[[7.0], [-1.0]]])).residual == pytest.approx(4 / 5)


def test_an_output_of_zeros_has_no_residual_and_divides_by_nothing():
    assert measure_echo(torch.zeros(1, 2, 3)).residual == 0


def test_measuring_nothing_is_refused():
    with pytest.raises(ValueError, match="never ran.*give at least one batch"):
        measure_echo()


def test_no_hook_stays_behind_even_when_the_model_fails():
    def fail():
        raise RuntimeError("out of memory")

    echo = Echo()
    with pytest.raises(RuntimeError):
        text_free.measure_constants(fail, {"attn2": echo}, [()])
    assert not echo._forward_hooks


def test_where_cross_attention_really_is_constant_the_text_free_net_equals_the_base(unet, inputs):
    estimates = text_free.measure_constants(
        lambda *batch: predict(unet, *batch), text_free.cross_attentions(unet), [(*inputs, equal_tokens())]
    )
    assert max(found.residual for found in estimates.values()) < 1e-5
    before = predict(unet, *inputs, equal_tokens())
    unet.load_state_dict(text_free_state(unet, inputs, equal_tokens()))
    torch.testing.assert_close(predict(unet, *inputs, prompt(2)), before, rtol=0, atol=2e-6)


def test_a_text_free_net_answers_the_same_to_every_text(unet, inputs):
    one, other = predict(unet, *inputs, prompt(2)), predict(unet, *inputs, 9 * prompt(3, tokens=6))
    assert (one - other).abs().max() > 1e-3, "the base must read its text, or this test proves nothing"
    unet.load_state_dict(text_free_state(unet, inputs, prompt(2)))
    one, other = predict(unet, *inputs, prompt(2)), predict(unet, *inputs, 9 * prompt(3, tokens=6))
    assert torch.equal(one, other)


def test_only_values_and_output_bias_of_cross_attentions_change(unet, inputs):
    before = unet.state_dict()
    after = text_free_state(unet, inputs, prompt(2))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    names = text_free.cross_attentions(unet)
    assert len(names) == 3
    assert changed == {f"{name}.{part}" for name in names for part in ("to_v.weight", "to_out.0.bias")}


def test_the_surgery_knows_the_hosts_layout_as_well(unet, inputs):
    state = unet.state_dict()
    expected = diffusers_to_host(text_free_state(unet, inputs, prompt(2)), UNET_CONFIG)
    in_host = diffusers_to_host(state, UNET_CONFIG)
    names = [key.removesuffix(".to_v.weight") for key in in_host if key.endswith("attn2.to_v.weight")]
    constants = {name: expected[f"{name}.to_out.0.bias"] for name in names}
    done = text_free.make_text_free(in_host, constants)
    assert done.keys() == expected.keys()
    assert all(torch.equal(done[key], expected[key]) for key in done)


def test_constants_that_leave_a_cross_attention_reading_text_are_refused(unet):
    state = unet.state_dict()
    constants = {name: torch.zeros(64) for name in text_free.cross_attentions(unet)}
    first = min(constants)
    constants.pop(first)
    with pytest.raises(ValueError, match=f"3 cross-attentions and there are 2 constants.*{first}"):
        text_free.make_text_free(state, constants)


def test_a_net_without_cross_attention_is_refused():
    with pytest.raises(ValueError, match="no cross-attention called attn2"):
        text_free.cross_attentions(nn.Linear(2, 2))


def test_skipping_equals_the_text_free_weights_in_value_and_in_gradient(unet, inputs):
    unet.load_state_dict(text_free_state(unet, inputs, prompt(2)))
    outputs, gradients = [], []
    for skipped in (False, True):
        unet.zero_grad()
        if skipped:
            with text_free.cross_attention_skipped(unet):
                outputs.append(predict(unet, *inputs, prompt(3)))
        else:
            outputs.append(predict(unet, *inputs, prompt(3)))
        outputs[-1].square().mean().backward()
        gradients.append([attention.to_out[0].bias.grad for attention in text_free.cross_attentions(unet).values()])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-8)
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])


def test_skipping_ends_with_its_block_even_after_an_error(unet, inputs):
    before = predict(unet, *inputs, prompt(2))
    with pytest.raises(KeyError), text_free.cross_attention_skipped(unet):
        assert not torch.equal(predict(unet, *inputs, prompt(2)), before)
        raise KeyError
    assert torch.equal(predict(unet, *inputs, prompt(2)), before)


def test_the_constant_and_the_rest_of_the_net_stay_trainable(unet):
    text_free.freeze_text_path(unet)
    frozen = {name for name, parameter in unet.named_parameters() if not parameter.requires_grad}
    blocks = {name.rpartition(".")[0] for name in text_free.cross_attentions(unet)}
    parts = ["attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_v.weight", "attn2.to_out.0.weight"]
    assert frozen == {f"{block}.{part}" for block in blocks for part in [*parts, "norm2.weight", "norm2.bias"]}
