"""The gradient through a frozen encoder to its pixels: the same to the last bit, in a fraction of the memory."""

import mini_pipeline
import pytest
import torch
from torch import nn

from domain_guidance.memory.activations import activation_bytes
from domain_guidance.memory.frozen_gradient import frozen_gradient


@pytest.fixture
def encoder():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**mini_pipeline.VAE).requires_grad_(False).eval().encoder


def both_gradients(encoder, precision=None):
    """Of two directions through one graph, as a score and a regulariser need them."""
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 32, 32).requires_grad_()
    with torch.autocast("cpu", precision, enabled=precision is not None):
        output = encoder(pixels)
    first, second = torch.randn(2, *output.shape)
    return [
        torch.autograd.grad(output, pixels, direction.to(output), retain_graph=True)[0] for direction in (first, second)
    ]


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_both_gradients_through_one_graph_are_those_of_an_encoder_that_keeps_everything(encoder, precision):
    wanted = both_gradients(encoder, precision)
    with frozen_gradient(encoder):
        found = both_gradients(encoder, precision)
    assert wanted[0].abs().max() > 0
    assert all(map(torch.equal, found, wanted))
    assert all("forward" not in vars(module) for module in encoder.modules())


def test_strides_dilations_groups_and_paddings_are_the_modules_own():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=(0, 2), groups=2),
        nn.Conv2d(8, 6, 3, dilation=2, padding=2, bias=False),
        nn.Conv2d(6, 5, 1),
    ).requires_grad_(False)
    pixels = torch.randn(2, 4, 9, 11).requires_grad_()
    (wanted,) = torch.autograd.grad(network(pixels).square().sum(), pixels)
    with frozen_gradient(network):
        (found,) = torch.autograd.grad(network(pixels).square().sum(), pixels)
    assert torch.equal(found, wanted)


def test_less_than_half_of_it_is_kept(encoder):
    pixels = torch.randn(1, 3, 32, 32).requires_grad_()
    whole = activation_bytes(lambda: encoder(pixels), encoder)
    with frozen_gradient(encoder):
        assert activation_bytes(lambda: encoder(pixels), encoder) < whole / 2


def test_a_network_that_is_trained_is_refused():
    with pytest.raises(ValueError, match="freeze it"), frozen_gradient(nn.Conv2d(3, 3, 1)):
        pass
