"""Generators on a GPU: half precision, and a second device."""

import pytest
import torch
from generator_scenes import tiny


@pytest.fixture
def generator(host):
    library = host.library("domain_guidance.generators")
    weights = tiny()
    config = library.infer_config({name: tuple(tensor.shape) for name, tensor in weights.items()})
    network = library.empty_generator(config)
    network.load_state_dict(weights, assign=True)
    return library, network.requires_grad_(False).eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_a_picture_in_half_precision_is_the_one_in_full(generator, dtype):
    library, network = generator
    ws = network.mapping(library.latents([3], network.config.z_dim))
    expected = network.synthesis(ws, noise="const")
    drawn = network.cuda().synthesis(ws.cuda(), noise="const", dtype=dtype).float().cpu()
    assert (drawn - expected).abs().mean() < 0.02 * expected.std()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device, and this test needs two")
def test_two_devices_draw_one_picture(generator):
    library, network = generator
    ws = network.mapping(library.latents([3], network.config.z_dim))
    drawn = [
        network.to(device).synthesis(ws.to(device), noise="const").float().cpu() for device in ("cuda:0", "cuda:1")
    ]
    assert torch.allclose(*drawn, atol=1e-4)
