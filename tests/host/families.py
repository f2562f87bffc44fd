"""A mini of every model class of the host that makes pictures or video: its own networks, with few and narrow layers.

The host's detection reads some sizes off a file and knows others by heart. `known_to_the_host` tells it the sizes of
the minis, by their tensors' names and shapes; everything else (loaders, classes, latents, sampling) is the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from mini_models import _random_like
from probe_nodes import seeded
from safetensors.torch import save_file

TOKENS, EMPTY_TOKENS = 7, 4
SIDE = 8  # cells of a latent
# What Train Domain says of a family that it refuses, without what the network itself said.
OWN_WAY = (
    "The model turns its output into an image in a way of its own (as Playground 2.5, Cosmos 1 and Stable Video "
    "Diffusion do), but a domain is trained and saved for noise prediction, velocity or flow in their usual scale: "
    "guide it by a prompt with Domain Guidance Term, or connect a model of another family."
)
NEEDS_MORE = (
    "The model cannot be trained: given only an empty prompt and a blank image, its network fails in ComfyUI; a model "
    "that needs more, such as a picture, a pose or a sound, can be guided with Domain Guidance Term instead."
)
ANIMA_WIDTHS = {"source_dim": 32, "target_dim": 32}

PIXART = {
    "num_heads": 2,
    "patch_size": 2,
    "hidden_size": 32,
    "in_channels": 4,
    "depth": 1,
    "model_max_length": 16,
    "input_size": 512,
    "pe_interpolation": 1,
    "micro_condition": False,
    "caption_channels": 32,
}
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [0, 0],
    "transformer_depth_middle": -2,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "legacy": False,
    "context_dim": 32,
    "adm_in_channels": None,
    "num_heads": -1,
    "num_head_channels": 16,
}
SDXL = {**UNET, "num_classes": "sequential", "adm_in_channels": 2816}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 32,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
FLUX2 = {
    **FLUX,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [8, 8, 8, 8],
    "patch_size": 1,
    "global_modulation": True,
    "mlp_silu_act": True,
    "qkv_bias": False,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
    "txt_ids_dims": [3],
    "mlp_ratio": 3.0,
    "theta": 2000,
}
CHROMA = {
    **{key: value for key, value in FLUX.items() if key != "guidance_embed"},
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 32,
    "hidden_dim": 32,
    "n_layers": 1,
    "vec_in_dim": None,
}
RADIANCE = {
    **CHROMA,
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 4,
    "nerf_hidden_size": 8,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 1,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": torch.float32,
    "use_x0": False,
    "use_sequential_txt_ids": False,
}
HUNYUAN = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "patch_size": [1, 2, 2],
    "out_channels": 16,
    "vec_in_dim": 768,
    "axes_dim": [8, 12, 12],
    "meanflow": False,
    "context_in_dim": 32,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "theta": 256,
    "qkv_bias": True,
    "byt5": False,
    "guidance_embed": True,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
HUNYUAN15 = {
    **HUNYUAN,
    "in_channels": 65,
    "out_channels": 32,
    "patch_size": [1, 1, 1],
    "vec_in_dim": None,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
    "meanflow_sum": True,
    "byt5": True,
    "guidance_embed": False,
}
PREDICT2 = {
    "image_model": "cosmos_predict2",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 32,
    "concat_padding_mask": True,
    "crossattn_emb_channels": 1024,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "min_fps": 1,
    "max_fps": 30,
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "num_blocks": 1,
    "num_heads": 2,
    "extra_per_block_abs_pos_emb": False,
    "rope_h_extrapolation_ratio": 4.0,
    "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0,
    "extra_h_extrapolation_ratio": 1.0,
    "extra_w_extrapolation_ratio": 1.0,
    "extra_t_extrapolation_ratio": 1.0,
    "rope_enable_fps_modulation": False,
}
COSMOS = {
    "image_model": "cosmos",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 32,
    "block_config": "FA-CA-MLP",
    "concat_padding_mask": True,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": False,
    "pos_emb_interpolation": "crop",
    "block_x_format": "THWBD",
    "affline_emb_norm": True,
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "num_blocks": 1,
    "num_heads": 2,
    "crossattn_emb_channels": 32,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 32,
    "cap_feat_dim": 32,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "qk_norm": True,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 16,
    "axes_dims": [4, 6, 6],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 1.0,
}
ZIMAGE = {
    **LUMINA,
    "dim": 256,  # the width of its modulation, which the network fixes
    "n_kv_heads": 2,
    "axes_dims": [32, 48, 48],
    "rope_theta": 256.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 32,
    "out_dim": 16,
    "in_dim": 16,
    "num_heads": 2,
    "ffn_dim": 32,
    "num_layers": 1,
    "patch_size": (1, 2, 2),
    "freq_dim": 16,
    "text_dim": 32,
    "text_len": 16,
    "window_size": (-1, -1),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
}
OMNIGEN = {
    "image_model": "omnigen2",
    "axes_dim_rope": [4, 6, 6],
    "axes_lens": [1024, 1664, 1664],
    "hidden_size": 32,
    "in_channels": 16,
    "multiple_of": 16,
    "norm_eps": 1e-5,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "patch_size": 2,
    "text_feat_dim": 32,
    "timestep_scale": 1000.0,
}
KANDINSKY = {
    "image_model": "kandinsky5",
    "model_dim": 32,
    "axes_dims": (8, 12, 12),
    "time_dim": 16,
    "ff_dim": 32,
    "visual_embed_dim": 132,
    "num_text_blocks": 1,
    "num_visual_blocks": 1,
    "in_text_dim": 32,
    "in_text_dim2": 32,
}
COGVIDEO = {
    "image_model": "cogvideox",
    "num_attention_heads": 1,
    "attention_head_dim": 32,
    "time_embed_dim": 16,
    "num_layers": 1,
    "in_channels": 16,
    "patch_size": 2,
    "text_embed_dim": 32,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": False,
}


def _anima(seed, tokens):
    return {"t5xxl_ids": torch.arange(tokens + 3) % 40, "t5xxl_weights": torch.ones(tokens + 3)}


def _mask(seed, tokens):
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}


@dataclass(frozen=True)
class Mini:
    """unet_config: what the host's class is made with. text: values per token. pooled: of the pooled vector, 0 for
    none. latent: (C, h, w) or (C, t, h, w). beside: (seed, tokens) -> what the family's text encoder puts beside the
    embedding. host_class: where it differs from the mini's name. marks: tensors by which the host tells variants.
    refused: what a refusal to train it says, empty where it trains.
    """

    unet_config: dict
    text: int
    latent: tuple
    pooled: int = 0
    beside: Callable[[int, int], dict] = lambda seed, tokens: {}
    host_class: str = ""
    marks: dict = field(default_factory=dict)
    refused: str = ""
    sound: tuple = ()  # of the latent that is sampled beside the pictures', (C, t, f)

    def prompt(self, seed: int, tokens: int = TOKENS) -> list:
        shape = (1, tokens, self.text)
        rest = self.beside(seed, tokens)
        if self.pooled:
            rest = {**rest, "pooled_output": seeded(seed + 1, 1, self.pooled)}
        return [[seeded(seed, *shape), rest]]

    def empty(self) -> list:
        return self.prompt(0, EMPTY_TOKENS)

    def make_latent(self, count: int):
        from comfy.nested_tensor import NestedTensor

        pictures = torch.zeros(count, *self.latent)
        return NestedTensor([pictures, torch.zeros(count, *self.sound)]) if self.sound else pictures


FLAT4, FLAT16, FLAT128 = (4, SIDE, SIDE), (16, SIDE, SIDE), (128, SIDE // 2, SIDE // 2)
VIDEO16 = (16, 2, SIDE, SIDE)

MINIS: dict[str, Mini] = {
    "SD15": Mini(UNET, 32, FLAT4),
    "SD20": Mini(UNET, 32, FLAT4),
    "SDXL": Mini(SDXL, 32, FLAT4, pooled=1280),
    "SDXL, velocity": Mini(
        SDXL, 32, FLAT4, pooled=1280, host_class="SDXL", marks={"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    ),
    "CosXL": Mini(
        SDXL,
        32,
        FLAT4,
        pooled=1280,
        host_class="SDXL",
        marks={"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)},
    ),
    "Playground 2.5": Mini(
        SDXL,
        32,
        FLAT4,
        pooled=1280,
        host_class="SDXL",
        marks={"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)},
        refused=OWN_WAY,
    ),
    "SDXLRefiner": Mini({**SDXL, "adm_in_channels": 2560}, 32, FLAT4, pooled=1280),
    "SD3": Mini(
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 1,
            "input_size": None,
            "adm_in_channels": 32,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 32, "out_features": 64},
            },
            "num_patches": 64,
            "pos_embed_max_size": 8,
            "pos_embed_scaling_factor": None,
            "x_block_self_attn_layers": [],
        },
        32,
        FLAT16,
        pooled=32,
    ),
    "SD 3.5 Medium": Mini(
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 2,
            "input_size": None,
            "adm_in_channels": 32,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 32, "out_features": 128},
            },
            "num_patches": 64,
            "pos_embed_max_size": 8,
            "pos_embed_scaling_factor": None,
            "qk_norm": "rms",
            "x_block_self_attn_layers": [0],
        },
        32,
        FLAT16,
        pooled=32,
        host_class="SD3",
    ),
    "AuraFlow": Mini(
        {
            "max_seq": 64,
            "cond_seq_dim": 32,
            "dim": 32,
            "n_layers": 2,
            "n_double_layers": 1,
            "n_heads": 2,
            "global_conddim": 32,
        },
        32,
        FLAT4,
    ),
    "PixArtAlpha": Mini({**PIXART, "image_model": "pixart_alpha"}, 32, (4, 48, 48)),
    "PixArtSigma": Mini({**PIXART, "image_model": "pixart_sigma"}, 32, (4, 48, 48)),
    "FluxSchnell": Mini({**FLUX, "guidance_embed": False}, 32, FLAT16, pooled=32),
    "Flux": Mini(FLUX, 32, FLAT16, pooled=32),
    "Flux2": Mini(FLUX2, 32, FLAT128),
    "LongCatImage": Mini({**FLUX, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [1, 2]}, 32, FLAT16),
    "Lens": Mini(
        {
            "image_model": "lens",
            "in_channels": 128,
            "out_channels": 32,
            "num_layers": 1,
            "num_attention_heads": 1,
            "attention_head_dim": 32,
            "axes_dims_rope": (8, 12, 12),
            "enc_hidden_dim": 32,
            "multi_layer_encoder_feature": False,
            "selected_layer_index": (0,),
        },
        32,
        FLAT128,
        beside=_mask,
    ),
    "LTXV": Mini(
        {
            "image_model": "ltxv",
            "num_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "cross_attention_dim": 32,
            "caption_channels": 32,
            "use_keyframes_abs_pos_embedding": False,
        },
        32,
        (128, 2, 4, 4),
        beside=_mask,
    ),
    "HunyuanVideo": Mini(HUNYUAN, 32, VIDEO16, pooled=768),
    "HunyuanVideo15": Mini(HUNYUAN15, 32, (32, 2, SIDE // 2, SIDE // 2), pooled=768),
    "HunyuanImage21": Mini(
        {
            **HUNYUAN,
            "in_channels": 64,
            "out_channels": 64,
            "patch_size": [1, 1],
            "axes_dim": [16, 16],
            "vec_in_dim": None,
            "byt5": True,
            "guidance_embed": False,
        },
        32,
        (64, SIDE // 2, SIDE // 2),
        beside=lambda seed, tokens: {"conditioning_byt5small": seeded(seed + 5, 1, tokens, 1472)} if seed else {},
    ),
    "CosmosT2V": Mini(COSMOS, 32, VIDEO16, refused=OWN_WAY),
    "CosmosT2IPredict2": Mini({**PREDICT2, "crossattn_emb_channels": 32}, 32, (16, 1, SIDE, SIDE)),
    "Anima": Mini(
        {**PREDICT2, "image_model": "anima", "crossattn_emb_channels": 32}, 32, (16, 1, SIDE, SIDE), beside=_anima
    ),
    "Lumina2": Mini(LUMINA, 32, FLAT16, beside=_mask),
    "ZImage": Mini(ZIMAGE, 32, FLAT16, beside=_mask),
    "WAN21_T2V": Mini(WAN, 32, VIDEO16),
    "WAN22_T2V": Mini({**WAN, "in_dim": 48, "out_dim": 48}, 32, (48, 2, SIDE, SIDE)),
    "WAN21_I2V": Mini({**WAN, "model_type": "i2v", "in_dim": 36}, 32, VIDEO16),
    "HiDream": Mini(
        {
            "image_model": "hidream",
            "attention_head_dim": 32,
            "axes_dims_rope": [16, 8, 8],
            "caption_channels": [32, 32],
            "max_resolution": [128, 128],
            "in_channels": 16,
            "llama_layers": [0, 1],
            "num_attention_heads": 1,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "num_layers": 1,
            "num_single_layers": 1,
            "out_channels": 16,
            "patch_size": 2,
            "text_emb_dim": 32,
        },
        32,
        FLAT16,
        pooled=32,
        beside=lambda seed, tokens: {"conditioning_llama3": seeded(seed + 7, 1, 2, tokens, 32)},
    ),
    "Chroma": Mini(CHROMA, 32, FLAT16),
    "ChromaRadiance": Mini(RADIANCE, 32, (3, 32, 32)),
    "Omnigen2": Mini(OMNIGEN, 32, FLAT16, beside=_mask),
    "QwenImage": Mini(
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "out_channels": 16,
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 1,
            "joint_attention_dim": 32,
            "axes_dims_rope": (8, 12, 12),
        },
        32,
        (16, 1, SIDE, SIDE),
    ),
    "MageFlow": Mini(
        {
            "image_model": "mage_flow",
            "in_channels": 128,
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 1,
            "joint_attention_dim": 32,
            "axes_dims_rope": (8, 12, 12),
        },
        32,
        FLAT128,
    ),
    "Krea2": Mini(
        {
            "image_model": "krea2",
            "features": 32,
            "tdim": 16,
            "channels": 16,
            "patch": 2,
            "layers": 1,
            "heads": 1,
            "kvheads": 1,
            "multiplier": 2,
            "txtlayers": 2,
            "txtdim": 32,
            "txtheads": 2,
            "txtkvheads": 2,
        },
        64,
        (16, 1, SIDE, SIDE),
    ),
    "Kandinsky5": Mini(KANDINSKY, 32, VIDEO16, pooled=32),
    "Kandinsky5Image": Mini({**KANDINSKY, "visual_embed_dim": 64}, 32, (16, 1, SIDE, SIDE), pooled=32),
    "ErnieImage": Mini(
        {
            "image_model": "ernie",
            "hidden_size": 32,
            "num_attention_heads": 1,
            "num_layers": 1,
            "ffn_hidden_size": 32,
            "text_in_dim": 32,
            "rope_axes_dim": (8, 12, 12),
        },
        32,
        FLAT128,
    ),
    "Ideogram4": Mini(
        {
            "image_model": "ideogram4",
            "in_channels": 128,
            "num_layers": 1,
            "num_attention_heads": 1,
            "attention_head_dim": 32,
            "intermediate_size": 32,
            "adaln_dim": 16,
            "llm_features_dim": 32,
            "mrope_section": [4, 6, 6],
        },
        32,
        FLAT128,
    ),
    "JoyImage": Mini(
        {
            "image_model": "joyimage",
            "hidden_size": 32,
            "num_attention_heads": 1,
            "text_dim": 32,
            "num_layers": 1,
            "rope_dim_list": [8, 12, 12],
            "mlp_width_ratio": 2.0,
        },
        32,
        (16, 1, SIDE, SIDE),
    ),
    "CogVideoX_T2V": Mini(COGVIDEO, 32, VIDEO16, refused=OWN_WAY),
    "LTXAV": Mini(
        {
            "image_model": "ltxav",
            "num_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "cross_attention_dim": 32,
            "audio_cross_attention_dim": 32,
            "audio_attention_head_dim": 16,
            "audio_num_attention_heads": 2,
            "caption_channels": 32,
            "connector_attention_head_dim": 16,
            "connector_num_attention_heads": 2,
            "connector_num_layers": 1,
            "use_keyframes_abs_pos_embedding": False,
        },
        64,
        (128, 2, 4, 4),
        sound=(8, 5, 16),
        refused=NEEDS_MORE,
        beside=lambda seed, tokens: {"unprocessed_ltxav_embeds": True},
    ),
    "HunyuanVideoI2V": Mini({**HUNYUAN, "in_channels": 33}, 32, VIDEO16, pooled=768),
    "HunyuanVideoSkyreelsI2V": Mini({**HUNYUAN, "in_channels": 32}, 32, VIDEO16, pooled=768),
    "FluxInpaint": Mini({**FLUX, "in_channels": 96}, 32, FLAT16, pooled=32),
    "SD15_instructpix2pix": Mini({**UNET, "in_channels": 8}, 32, FLAT4),
    "SDXL_instructpix2pix": Mini({**SDXL, "in_channels": 8}, 32, FLAT4, pooled=1280),
    "SD21UnclipL": Mini({**UNET, "num_classes": "sequential", "adm_in_channels": 1536}, 32, FLAT4),
    "LotusD": Mini({**UNET, "num_classes": "sequential", "adm_in_channels": 4}, 32, FLAT4, refused=OWN_WAY),
    "CosmosI2V": Mini({**COSMOS, "in_channels": 17}, 32, VIDEO16, refused=OWN_WAY),
    "CosmosI2VPredict2": Mini({**PREDICT2, "in_channels": 17, "crossattn_emb_channels": 32}, 32, VIDEO16),
    "WAN21_CausalAR_T2V": Mini(WAN, 32, VIDEO16),
    "WAN21_FunControl2V": Mini({**WAN, "model_type": "i2v", "in_dim": 48}, 32, VIDEO16),
    "WAN21_Vace": Mini({**WAN, "model_type": "vace", "vace_layers": 1, "vace_in_dim": 96}, 32, VIDEO16),
    "WAN21_Camera": Mini({**WAN, "model_type": "camera", "in_dim": 32}, 32, VIDEO16),
    "WAN22_Camera": Mini({**WAN, "model_type": "camera_2.2", "in_dim": 36}, 32, VIDEO16),
    "WAN22_S2V": Mini({**WAN, "model_type": "s2v"}, 32, VIDEO16),
    "WAN_Animate2": Mini({**WAN, "model_type": "animate2", "in_dim": 36}, 32, VIDEO16),
    "WAN21_FlowRVS": Mini({**WAN, "model_type": "flow_rvs"}, 32, VIDEO16, refused=OWN_WAY),
    "WAN21_SCAIL": Mini({**WAN, "model_type": "scail", "in_dim": 20}, 32, VIDEO16),
    "WAN21_SCAIL2": Mini({**WAN, "model_type": "scail2", "in_dim": 20}, 32, VIDEO16),
    "Boogu": Mini(
        {
            **{key: value for key, value in OMNIGEN.items() if key != "text_feat_dim"},
            "image_model": "boogu",
            "num_double_stream_layers": 1,
            "instruction_feat_dim": 32,
        },
        32,
        FLAT16,
        beside=_mask,
    ),
    "CogVideoX_I2V": Mini({**COGVIDEO, "in_channels": 32}, 32, VIDEO16, refused=OWN_WAY),
    "PixelDiTT2I": Mini(
        {
            "image_model": "pixeldit_t2i",
            "num_groups": 2,
            "hidden_size": 32,
            "pixel_hidden_size": 8,
            "pixel_attn_hidden_size": 16,
            "pixel_num_groups": 2,
            "patch_depth": 1,
            "pixel_depth": 1,
            "patch_size": 8,
            "txt_embed_dim": 32,
            "txt_max_length": 16,
        },
        32,
        (3, 32, 32),
        beside=_mask,
    ),
}


# The names that people know, where they are others than the host's.
TITLES: dict[str, str] = {
    "SD15": "Stable Diffusion 1.5",
    "SD20": "Stable Diffusion 2",
    "SDXL, velocity": "SDXL with v-prediction (NoobAI)",
    "SDXLRefiner": "SDXL Refiner",
    "SD3": "Stable Diffusion 3 and 3.5 Large",
    "SD 3.5 Medium": "Stable Diffusion 3.5 Medium",
    "PixArtAlpha": "PixArt-alpha",
    "PixArtSigma": "PixArt-sigma",
    "FluxSchnell": "Flux.1 schnell",
    "Flux": "Flux.1 dev, Kontext, Krea",
    "FluxInpaint": "Flux.1 Fill, Canny, Depth",
    "Flux2": "Flux.2 and Klein",
    "LongCatImage": "LongCat-Image",
    "LTXV": "LTX-Video",
    "LTXAV": "LTX-2, picture and sound",
    "HunyuanVideo15": "HunyuanVideo 1.5",
    "HunyuanImage21": "HunyuanImage 2.1",
    "HunyuanVideoI2V": "HunyuanVideo, from a picture",
    "HunyuanVideoSkyreelsI2V": "SkyReels, from a picture",
    "CosmosT2V": "Cosmos 1",
    "CosmosI2V": "Cosmos 1, from a picture",
    "CosmosT2IPredict2": "Cosmos Predict 2",
    "CosmosI2VPredict2": "Cosmos Predict 2, from a picture",
    "Lumina2": "Lumina 2",
    "ZImage": "Z-Image and Turbo",
    "WAN21_T2V": "Wan 2.1 and 2.2 14B",
    "WAN22_T2V": "Wan 2.2 5B",
    "WAN21_I2V": "Wan, from a picture",
    "WAN21_CausalAR_T2V": "Wan, causal",
    "WAN21_FunControl2V": "Wan Fun Control",
    "WAN21_Vace": "Wan VACE",
    "WAN21_Camera": "Wan 2.1 Camera",
    "WAN22_Camera": "Wan 2.2 Camera",
    "WAN22_S2V": "Wan 2.2, from sound",
    "WAN_Animate2": "Wan Animate 2",
    "WAN21_FlowRVS": "Wan FlowRVS",
    "WAN21_SCAIL": "Wan SCAIL",
    "WAN21_SCAIL2": "Wan SCAIL 2",
    "ChromaRadiance": "Chroma Radiance",
    "Omnigen2": "OmniGen2",
    "QwenImage": "Qwen-Image and Edit",
    "MageFlow": "Mage-Flow",
    "Krea2": "Krea 2",
    "Kandinsky5": "Kandinsky 5 video",
    "Kandinsky5Image": "Kandinsky 5 image",
    "ErnieImage": "ERNIE-Image",
    "Ideogram4": "Ideogram 4",
    "CogVideoX_T2V": "CogVideoX",
    "CogVideoX_I2V": "CogVideoX, from a picture",
    "SD15_instructpix2pix": "InstructPix2Pix",
    "SDXL_instructpix2pix": "InstructPix2Pix XL",
    "SD21UnclipL": "Stable Diffusion 2.1 unCLIP",
    "LotusD": "Lotus",
    "PixelDiTT2I": "PixelDiT",
}

# Not made smaller for these tests, or no pictures: class -> why.
SOUND = "they make sound"
SHAPES = "they make shapes"
SEES = "they read pictures and make none"
FIXED = "their networks have a fixed size, too large for a test"
STARTS = "they start from a picture and read no prompt"
NOT_WALKED: dict[str, str] = {
    **dict.fromkeys(("StableAudio", "StableAudio3", "ACEStep", "ACEStep15", "MiniMaxMusic3"), SOUND),
    **dict.fromkeys(("Hunyuan3Dv2", "Hunyuan3Dv2mini", "Hunyuan3Dv2_1", "TripoSplat", "Trellis2"), SHAPES),
    **dict.fromkeys(("RT_DETR_v4", "DepthAnything3", "SAM3", "SAM31"), SEES),
    **dict.fromkeys(("GenmoMochi", "HiDreamO1", "WAN21_HuMo", "WAN22_Animate", "MiniMaxH3", "HunyuanDiT"), FIXED),
    **dict.fromkeys(("HunyuanDiT1", "WAN22_WanDancer", "ZImagePixelSpace"), FIXED),
    **dict.fromkeys(("SVD_img2vid", "SV3D_u", "SV3D_p", "Stable_Zero123", "SD_X4Upscaler", "SeedVR2", "PiD"), STARTS),
    "HunyuanImage21Refiner": STARTS,
    **dict.fromkeys(
        ("Stable_Cascade_C", "Stable_Cascade_B"), "a chain of two networks, of which each starts the other"
    ),
}
# Variants that differ from a walked class by sizes alone: class -> mini.
SAMPLE_OF: dict[str, str] = {
    **dict.fromkeys(("SSD1B", "Segmind_Vega", "KOALA_700M", "KOALA_1B"), "SDXL"),
    "SD21UnclipH": "SD21UnclipL",
    "CogVideoX_Inpaint": "CogVideoX_I2V",
    "HunyuanVideo15_SR_Distilled": "HunyuanVideo15",
}


def has_text_free(name: str) -> bool:
    """Whether it is a UNet whose cross-attention can be taken out."""
    return bool(MINIS[name].unet_config.get("use_spatial_transformer")) and not MINIS[name].refused


def class_name(name: str) -> str:
    return MINIS[name].host_class or name


def is_known(name: str) -> bool:
    """Whether this ComfyUI has the class; older ones have fewer."""
    import comfy.supported_models

    return hasattr(comfy.supported_models, class_name(name))


def host_class(name: str):
    import comfy.supported_models

    return getattr(comfy.supported_models, class_name(name))


def config_of(name: str):
    """The host's model config for the mini; sizes that its class fixes are the mini's."""
    config = host_class(name)(MINIS[name].unet_config)
    config.unet_config.update(MINIS[name].unet_config)
    return config


def weights(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Seeded weights under the network's own names, with the marks by which the host tells the variant."""
    mini, config = MINIS[name], config_of(name)
    config.set_inference_dtype(torch.float32, None)
    network = config.get_model(dict(mini.marks)).diffusion_model
    shapes = {key: tensor for key, tensor in network.state_dict().items() if tensor.is_floating_point()}
    return _random_like({key: torch.empty_like(t, dtype=torch.float32) for key, t in shapes.items()}, seed)


def write(path, name: str, seed: int = 0, change: Callable | None = None):
    """The mini as a file of the host's loaders."""
    state = weights(name, seed)
    save_file(
        {key: t.contiguous() for key, t in {**(change(state) if change else state), **MINIS[name].marks}.items()},
        str(path),
    )


@contextmanager
def known_to_the_host(names=None):
    """Within the block the host's detection knows the minis by their tensors' names and shapes."""
    import comfy.ldm.anima.model
    from comfy import model_detection

    adapter = comfy.ldm.anima.model.LLMAdapter
    comfy.ldm.anima.model.LLMAdapter = partial(adapter, model_dim=32, num_layers=1, num_heads=2, **ANIMA_WIDTHS)
    real, known = model_detection.model_config_from_unet, {}

    def detect(state, prefix, *args, **kwargs):
        shapes = _shapes({key[len(prefix) :]: t for key, t in state.items() if key.startswith(prefix)})
        for name in names or filter(is_known, MINIS):
            if name not in known:
                known[name] = _shapes(weights(name))
        # A network alone, without the marks of a variant, is still of its family.
        found = sorted(
            (name for name, own in known.items() if own == shapes),
            key=lambda name: -sum(prefix + mark in state for mark in MINIS[name].marks) or len(MINIS[name].marks),
        )
        return config_of(found[0]) if found else real(state, prefix, *args, **kwargs)

    model_detection.model_config_from_unet = detect
    try:
        yield
    finally:
        model_detection.model_config_from_unet = real
        comfy.ldm.anima.model.LLMAdapter = adapter


def _shapes(state) -> frozenset:
    marks = {mark for mini in MINIS.values() for mark in mini.marks}
    return frozenset((key, tuple(t.shape)) for key, t in state.items() if key not in marks)
