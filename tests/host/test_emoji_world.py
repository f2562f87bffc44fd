"""The emoji world's autoencoder in the real host, whose own loader knows it by its structure."""

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture
def library(host):
    return {
        name: host.library(f"domain_guidance.emoji_world.{name}") for name in ("autoencoder", "checkpoints", "model")
    }


def test_the_hosts_vae_encodes_and_decodes_what_the_library_does(library, tmp_path):
    import comfy.sd

    torch.manual_seed(0)
    ours = library["autoencoder"].build_autoencoder().half().float().eval()
    library["checkpoints"].write_vae(ours, tmp_path)
    theirs = comfy.sd.VAE(sd=load_file(tmp_path / library["checkpoints"].VAE), dtype=torch.float32)
    assert theirs.downscale_ratio == library["model"].CELL and theirs.latent_channels == library["model"].CHANNELS
    size = library["model"].IMAGE_SIZE
    images = torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = library["autoencoder"].encode(ours, images.movedim(-1, 1) * 2 - 1)
        pictures = library["autoencoder"].decode(ours, latents).movedim(1, -1)
    assert torch.allclose(theirs.encode(images), latents, atol=1e-5)
    assert torch.allclose(theirs.decode(latents.contiguous()), (pictures / 2 + 0.5).clamp(0, 1), atol=1e-5)
