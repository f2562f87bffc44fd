"""Stable Diffusion 1.5 at an eighth of its width, with random weights, for benchmarks that a CPU can run.

An eighth of the channels, of the heads (of the same size) and of the groups of a norm, and, at 192 pixels, a seventh of
the image tokens and of the prompt's that there are at 512. So parts and their work stand as there, the share of
attention included:
parameters 860 : 84 : 123, operations of a forward pass 1 : 1.39 : 0.017. `print_sizes` counts and prints both.
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

RESOLUTION = 192  # pixels of a side at which the shares are SD1.5's
TOKENS, PROMPT_WIDTH = 11, 96
UNET = {
    "sample_size": 24,
    "block_out_channels": (40, 80, 160, 160),
    "cross_attention_dim": PROMPT_WIDTH,
    "attention_head_dim": 1,  # heads, in diffusers' naming: of 40 to 160 channels, as in SD1.5
    "norm_num_groups": 4,
}
VAE = {
    "block_out_channels": (16, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
TEXT = {
    "vocab_size": 6176,
    "hidden_size": PROMPT_WIDTH,
    "intermediate_size": 4 * PROMPT_WIDTH,
    "num_hidden_layers": 12,
    "num_attention_heads": 2,
    "max_position_embeddings": TOKENS,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def make_unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**UNET)


def make_vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(**VAE).eval().requires_grad_(False)


def make_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    return CLIPTextModel(CLIPTextConfig(**TEXT)).eval().requires_grad_(False)


def empty_tokens(batch):
    return torch.ones(batch, TOKENS, dtype=torch.long)


def whole_parts():
    """UNet, VAE and text encoder of SD1.5 in its own size."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(**{**VAE, "block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32})
    return unet, vae, CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))


def print_sizes(resolution):
    with torch.device("meta"):
        _print_shares("SD1.5 at 512 pixels", *whole_parts(), tokens=77, resolution=512)
        _print_shares(
            f"here at {resolution} pixels",
            make_unet(),
            make_vae(),
            make_text_encoder(),
            tokens=TOKENS,
            resolution=resolution,
        )


def _print_shares(name, unet, vae, text_encoder, tokens, resolution):
    """Parameters, and operations of the forward passes that a training step makes of one image.

    Call it with meta tensors.
    """
    of_unet, of_vae = critic_operations(unet, vae, tokens, resolution)
    of_text = operations(lambda: text_encoder(torch.empty(1, tokens, dtype=torch.long)))
    sizes = [sum(p.numel() for p in part.parameters()) for part in (unet, vae, text_encoder)]
    shares, of = (
        " : ".join(f"{size / sizes[0] * 860:.0f}" for size in sizes),
        " : ".join(f"{n / of_unet:.3g}" for n in (of_unet, of_vae, of_text)),
    )
    print(
        f"{name}: UNet {sizes[0] / 1e6:.2f} M parameters, {of_unet / 1e9:.2f} GFLOP forward; UNet : VAE "
        "encoder : text encoder"
    )
    print(f"    {shares} in parameters (whole VAE), {of} in operations")


def critic_operations(unet, vae, tokens, resolution):
    """Operations of the forward passes of UNet and VAE encoder for one image. Call it with meta tensors."""
    side, width = resolution // 8, unet.config.cross_attention_dim
    return (
        operations(
            lambda: unet(torch.empty(1, 4, side, side), torch.empty(1, dtype=torch.long), torch.empty(1, tokens, width))
        ),
        operations(lambda: vae.encode(torch.empty(1, 3, resolution, resolution))),
    )


def operations(work, graph=False):
    """Of matrix products and convolutions, backward passes included. graph: leave gradients on."""
    with torch.set_grad_enabled(graph), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
        work()
    return counter.total


class _Counter(TorchDispatchMode):
    # Not PyTorch's own FlopCounterMode, whose hooks do not stand autograd.grad.
    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
