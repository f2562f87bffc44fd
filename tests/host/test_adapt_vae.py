"""The second VAE of an adaptation: the host's own encoder, with a gradient, whatever the host does to its weights when
it loads them.
"""

from unittest.mock import patch

import pytest
import torch
from critics import Critics, Judged
from probe_nodes import seeded
from scenes import assert_one_sentence, assert_same
from small_card import small_card


@pytest.fixture(scope="module")
def critics(host):
    return Critics.of(host)


def own(critics, vae):
    with torch.inference_mode(False):
        return critics.vae.DifferentiableVae(vae)


def kl_vae():
    """Stable Diffusion's autoencoder, whose sizes the host fixes, with random weights, as a node would load it."""
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencoderKL

    config = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    with torch.inference_mode():
        torch.manual_seed(0)
        state = AutoencoderKL(ddconfig=config, embed_dim=4).state_dict()
        filled = {
            name: tensor.normal_(0, tensor[0].numel() ** -0.5)
            if tensor.dim() > 1
            else (torch.ones if name.endswith("weight") else torch.zeros)(tensor.shape)
            for name, tensor in state.items()
        }
        return comfy.sd.VAE(sd=filled)


def test_stable_diffusions_encoder_has_the_slope_of_its_own_values(host, critics):
    """By a small difference of the pictures: in-place activations and attention are all on the way."""
    vae = kl_vae()
    mine = own(critics, vae)
    pixels, towards, weight = 0.5 * seeded(1, 1, 3, 64, 64), seeded(2, 1, 3, 64, 64), seeded(3, 1, 4, 8, 8)
    seen = pixels.clone().requires_grad_()
    latent = mine.encode(seen)
    (gradient,) = torch.autograd.grad(latent, seen, weight)
    with torch.inference_mode():
        assert_same(latent.detach(), vae.encode((pixels.movedim(1, -1) + 1) / 2))
    with torch.no_grad():
        step = 1e-2
        slope = ((mine.encode(pixels + step * towards) - mine.encode(pixels - step * towards)) * weight).sum() / (
            2 * step
        )
    assert float((gradient * towards).sum()) == pytest.approx(float(slope), rel=2e-2)


def test_the_encoder_keeps_less_than_half_for_its_gradient_without_changing_a_bit_of_it(host, critics):
    kept_bytes = host.library("domain_guidance.memory.activations").activation_bytes
    mine, pixels = own(critics, kl_vae()), 0.5 * seeded(1, 1, 3, 64, 64)
    plain = mine.patcher.model  # the same network without the saving

    def measured(encode):
        seen = pixels.clone().requires_grad_()
        size = kept_bytes(lambda: encode(seen), mine.patcher.model.encoder)
        return size, torch.autograd.grad(encode(seen), seen, seeded(3, 1, 4, 8, 8))[0]

    (size, gradient), (whole, expected) = (
        measured(mine.encode),
        measured(lambda seen: plain.encode((seen + 1) / 2 * 2 - 1)),
    )
    assert torch.equal(gradient, expected)
    assert size < 0.5 * whole, (size, whole)


def test_weights_that_the_host_moved_in_inference_mode_still_let_a_gradient_through(host, minis, critics):
    """What a move to a GPU leaves: tensors made where nothing can be differentiated."""
    import comfy.model_patcher

    original, moved = comfy.model_patcher.ModelPatcher.load, []

    def load(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if torch.is_inference_mode_enabled():
            for module in self.model.modules():
                module._parameters |= {
                    name: torch.nn.Parameter(p.clone(), False)
                    for name, p in module._parameters.items()
                    if p is not None
                }
                moved.append(module)
        return result

    judged = Judged(host, minis)
    pixels, weight = seeded(5, 1, 3, 64, 64).clamp(-1, 1), seeded(6, 1, 4, 8, 8)

    def work(critic):
        seen = pixels.clone().requires_grad_()
        return torch.autograd.grad(critic.encode(seen), seen, weight)[0]

    expected = judged.ask(critics, judged.scene.model, work)
    with patch.object(comfy.model_patcher.ModelPatcher, "load", load):
        found = judged.ask(critics, judged.scene.model, work)
    assert moved and torch.equal(found, expected)


def test_a_vae_that_the_host_left_off_a_small_device_is_on_it_whole_while_it_is_differentiated(host, minis, critics):
    """What is cast at use is kept for the gradient, and on some devices written over before it."""
    from comfy.ops import disable_weight_init

    kept_bytes = host.library("domain_guidance.memory.activations").activation_bytes
    judged, mine = Judged(host, minis), []
    pixels, weight = seeded(5, 1, 3, 64, 64).clamp(-1, 1), seeded(6, 1, 4, 8, 8)
    made = critics.vae.DifferentiableVae.__init__

    def work(critic):
        seen = pixels.clone().requires_grad_()
        network = mine[-1].patcher.model
        convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
        plain = [critics.vae._is_plain(module) for module in convolutions]
        assert convolutions and {type(module) for module in convolutions} == {disable_weight_init.Conv2d}
        return (
            torch.autograd.grad(critic.encode(seen), seen, weight)[0],
            plain,
            kept_bytes(lambda: critic.encode(seen), network),
            network.model_lowvram,
        )

    with patch.object(
        critics.vae.DifferentiableVae, "__init__", lambda self, vae: mine.append(self) or made(self, vae)
    ):
        expected, *_, size, _ = judged.ask(critics, judged.scene.model, work)
        vae = judged.value(judged.vae)
        before = {
            name: (tensor, tensor.clone()) for name, tensor in vae.first_stage_model.state_dict(keep_vars=True).items()
        }
        with small_card() as left_off:
            found, plain, small_size, off = judged.ask(critics, judged.scene.model, work)
    network = mine[-1].patcher.model
    assert any(model is network for model in left_off) and len(left_off) == 2, "neither fits"
    assert torch.equal(found, expected)
    assert all(plain) and not off and small_size == size
    assert mine[-1].patcher.loaded_size() == 0 and not any(
        hasattr(module, "prev_comfy_cast_weights") for module in network.modules()
    )
    after = vae.first_stage_model.state_dict(keep_vars=True)
    assert all(after[name] is tensor and torch.equal(tensor, copy) for name, (tensor, copy) in before.items())


def test_a_vae_that_is_partly_on_a_small_device_is_brought_to_it_whole(host, critics):
    """Part of it was moved where nothing can be differentiated, part of it not at all."""
    vae = kl_vae()
    mine, pixels, weight = own(critics, vae), 0.5 * seeded(1, 1, 3, 32, 32), seeded(3, 1, 4, 4, 4)
    network = mine.patcher.model
    expected = gradient_of(mine, pixels, weight)
    with torch.inference_mode():
        mine.patcher.partially_load(torch.device("cpu"), mine.patcher.model_size() // 2)
        resident = [module for module in network.modules() if getattr(module, "comfy_patched_weights", False)]
        for module in resident:
            module._parameters |= {
                name: torch.nn.Parameter(p.clone(), False) for name, p in module._parameters.items() if p is not None
            }
    assert network.model_lowvram and resident
    mine.settle()
    assert not network.model_lowvram and mine.patcher.loaded_size() == mine.patcher.model_size()
    assert not any(p.is_inference() for p in network.parameters())
    assert all(critics.vae._is_plain(module) for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert torch.equal(gradient_of(mine, pixels, weight), expected)


def gradient_of(vae, pixels, weight):
    seen = pixels.clone().requires_grad_()
    return torch.autograd.grad(vae.encode(seen), seen, weight)[0]


def test_a_vae_in_half_precision_is_differentiated_in_fp32(host, minis, critics):
    import comfy.sd

    judged = Judged(host, minis)
    state = judged.value(judged.vae).first_stage_model.state_dict()
    with torch.inference_mode():
        half = comfy.sd.VAE(sd={name: tensor.clone() for name, tensor in state.items()}, dtype=torch.bfloat16)
    mine = own(critics, half)
    assert {p.dtype for p in mine.patcher.model.parameters()} == {torch.float32}
    assert {p.dtype for p in half.first_stage_model.parameters()} == {torch.bfloat16}
    assert mine.encode(torch.zeros(1, 3, 64, 64)).dtype == torch.float32


def test_the_pixels_of_a_pixel_vae_are_their_own_latents(host, critics):
    toy = host.library("nodes.comfy_host.toy")
    pixels = seeded(1, 2, 3, 16, 16).clamp(-1, 1).requires_grad_()
    latent = own(critics, toy.pixel_vae()).encode(pixels)
    assert torch.allclose(latent, pixels, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(latent.sum(), pixels)[0], torch.ones_like(pixels))


def test_a_vae_that_cannot_be_made_again_is_refused_in_one_sentence(host, minis, critics):
    judged = Judged(host, minis)
    vae = judged.value(judged.vae)
    with patch.object(vae, "first_stage_model", torch.nn.Linear(2, 2)), pytest.raises(ValueError) as caught:
        own(critics, vae)
    assert_one_sentence(str(caught.value))
