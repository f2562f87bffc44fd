"""Making activations again: the same gradients to the last bit, in less memory, for diffusers' networks and any
other.
"""

import gc

import mini_pipeline
import pytest
import torch
from torch import nn

from domain_guidance.domains.text_free import cross_attention_skipped
from domain_guidance.memory.activations import activation_bytes
from domain_guidance.memory.recomputation import recomputation


@pytest.fixture
def unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**mini_pipeline.UNET)


def loss(unet, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noisy, prompt = torch.randn(3, 4, 8, 8, generator=generator), torch.randn(3, 5, 16, generator=generator)
    return unet(noisy, torch.tensor([5, 500, 990]), prompt, return_dict=False)[0].square().mean()


def gradients(module, value):
    module.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys() and found
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_loss_and_gradients_are_those_of_a_network_that_keeps_everything(unet, precision):
    def run():
        with torch.autocast("cpu", precision, enabled=precision is not None):
            value = loss(unet)
        return value.item(), gradients(unet, value)  # outside of autocast, as in training

    (wanted, kept) = run()
    with recomputation(unet):
        (found, made) = run()
    assert found == wanted
    assert_equal(made, kept)


def test_an_adapter_gets_the_gradients_of_a_network_that_keeps_everything(unet):
    pytest.importorskip("peft")
    from domain_guidance.diffusers_host.trainable import add_adapter

    add_adapter(unet, 2)
    with torch.no_grad():
        for number, parameter in enumerate(p for p in unet.parameters() if p.requires_grad):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    wanted = gradients(unet, loss(unet))
    with recomputation(unet):
        assert_equal(gradients(unet, loss(unet)), wanted)


def test_a_text_free_network_gets_the_gradients_of_one_that_keeps_everything(unet):
    with cross_attention_skipped(unet):
        wanted = gradients(unet, loss(unet))
        with recomputation(unet):
            assert_equal(gradients(unet, loss(unet)), wanted)


def test_half_is_kept_and_the_measure_of_it_counts_every_tensor_that_lives_between_the_passes(unet):
    with cross_attention_skipped(unet):
        everything = activation_bytes(lambda: loss(unet), unet)
        with recomputation(unet):
            measured = activation_bytes(lambda: loss(unet), unet)
            before = living()
            value = loss(unet)
            after = living()
    assert value.requires_grad and measured < 0.5 * everything
    kept = sum(size for address, size in after.items() if address not in before)
    assert kept == pytest.approx(measured, rel=0.02)  # the loss and what its own nodes keep come on top


def living():
    """Bytes of every tensor that Python can see, by address."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, nn.Parameter)]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found}


def test_two_forward_passes_before_one_backward_pass_do_not_meet(unet):
    wanted = gradients(unet, loss(unet, 1) + 2 * loss(unet, 2))
    with recomputation(unet):
        assert_equal(gradients(unet, loss(unet, 1) + 2 * loss(unet, 2)), wanted)


def test_a_second_backward_pass_makes_everything_once_more(unet):
    with recomputation(unet):
        value = loss(unet)
        unet.zero_grad()
        value.backward(retain_graph=True)
        once = {name: p.grad.clone() for name, p in unet.named_parameters()}
        assert_equal(gradients(unet, value), once)


def test_nothing_stays_on_the_network_and_nothing_in_memory(unet):
    def marks():
        return [(sorted(vars(module)), len(module._forward_hooks)) for module in unet.modules()]

    before, tensors = marks(), living().keys()
    with pytest.raises(KeyError), recomputation(unet):
        loss(unet)
        assert living().keys() <= tensors
        raise KeyError
    assert marks() == before


def test_a_forward_that_was_replaced_before_is_put_back(unet):
    gate = next(module for module in unet.modules() if type(module).__name__ == "GEGLU")
    gate.forward = mine = lambda tokens: torch.zeros(*tokens.shape[:-1], gate.proj.out_features // 2)
    with recomputation(unet):
        assert gate.forward is not mine
    assert gate.forward is mine


class Overwriting(nn.Module):
    """Adds to what its norm has read, as long as `adds` says so."""

    def __init__(self, adds):
        super().__init__()
        self.enter, self.norm, self.act, self.leave = nn.Linear(4, 4), nn.LayerNorm(4), nn.SiLU(), nn.Linear(4, 4)
        self.adds = adds

    def forward(self, x):
        x = self.enter(x)
        normed = self.norm(x)
        if self.adds == "to the output":
            normed += 1
        output = self.leave(self.act(normed))
        if self.adds == "to the source":
            x += output.detach()
        return output + x


def test_what_was_overwritten_before_it_was_kept_is_kept_as_it_is_then():
    torch.manual_seed(0)
    net, x = Overwriting("to the output"), torch.randn(3, 4)
    wanted = gradients(net, net(x).square().sum())
    with recomputation(net):
        assert_equal(gradients(net, net(x).square().sum()), wanted)


def test_a_source_that_is_overwritten_stops_the_backward_pass_instead_of_falsifying_it():
    net = Overwriting("to the source")
    with recomputation(net):
        value = net(torch.randn(3, 4)).square().sum()
        with pytest.raises(RuntimeError, match="overwritten in place"):
            value.backward()


def test_an_address_that_is_used_again_is_not_taken_for_what_lay_there():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.last = nn.LayerNorm(64), nn.Linear(64, 1)

        def forward(self, x):
            for _ in range(20):
                dead = self.norm(x)  # freed at once, and its memory given to the next
                del dead
                x = x + self.last(x * 2)
            return x

    torch.manual_seed(0)
    net, x = Forgetful(), torch.randn(8, 64)
    wanted = gradients(net, net(x).square().sum())
    with recomputation(net):
        assert_equal(gradients(net, net(x).square().sum()), wanted)
