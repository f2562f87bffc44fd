"""One UNet, two naming schemes. The host's side of the mapping is checked against the host itself in tests/host."""

import pytest
import torch

from domain_guidance.domains.unet_layouts import diffusers_to_host, host_to_diffusers

SD15 = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
}
TINY = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "block_out_channels": (32, 32),
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
}


@pytest.mark.parametrize("mid", ["UNetMidBlock2DCrossAttn", None])
def test_the_names_of_a_real_unet_go_to_the_host_and_back(mid):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**TINY, mid_block_type=mid)
    state = unet.state_dict()
    host = diffusers_to_host(state, unet.config)
    assert len(host) == len(state)
    back = host_to_diffusers({f"model.diffusion_model.{name}": tensor for name, tensor in host.items()}, unet.config)
    assert back.keys() == state.keys() and all(back[name] is state[name] for name in state)


@pytest.mark.parametrize(
    ("diffusers", "host"),
    [
        ("conv_in.weight", "input_blocks.0.0.weight"),
        (
            "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_v.weight",
            "input_blocks.2.1.transformer_blocks.0.attn2.to_v.weight",
        ),
        ("down_blocks.0.downsamplers.0.conv.bias", "input_blocks.3.0.op.bias"),
        ("mid_block.resnets.1.conv2.weight", "middle_block.2.out_layers.3.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"),
    ],
)
def test_landmarks_of_stable_diffusion_have_the_names_that_checkpoints_carry(diffusers, host):
    assert diffusers_to_host({diffusers: torch.ones(1)}, SD15).keys() == {host}


def test_a_tensor_without_a_place_is_named():
    with pytest.raises(
        ValueError, match=r"'down_blocks\.7\.resnets\.0\.conv1\.weight' has no place in the diffusers layout.*\.$"
    ):
        diffusers_to_host({"down_blocks.7.resnets.0.conv1.weight": torch.ones(1)}, SD15)
