"""A diffusers folder of the Stable Diffusion family, a few thousand parameters large, a LoRA for it, and a folder of
real images.
"""

import json
from pathlib import Path

import torch

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": None,
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
VAE = {
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 16,
}
WORDS = ["<|startoftext|>", "<|endoftext|>", "a</w>", "plate</w>"]
SDXL_SIZES = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 16 + 6 * 4,
}


def write_pipeline(folder, sdxl=False):
    """SD1.5's parts, or SDXL's two text encoders and size conditioning; random weights from a fixed seed."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    folder = Path(folder)
    torch.manual_seed(0)
    width = 32 if sdxl else 16
    unet = UNet2DConditionModel(**{**UNET, "cross_attention_dim": width}, **(SDXL_SIZES if sdxl else {}))
    unet.save_pretrained(folder / "unet")
    AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    for number in ("", "_2") if sdxl else ("",):
        _write_text(folder, number, sdxl)
        index[f"text_encoder{number}"] = ["transformers", "CLIPTextModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _write_text(folder, number, sdxl):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    words = folder / f"words{number}"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(WORDS)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=5)
    tokenizer.save_pretrained(folder / f"tokenizer{number}")
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=5,
        projection_dim=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    (CLIPTextModelWithProjection if number else CLIPTextModel)(config).save_pretrained(folder / f"text_encoder{number}")


def write_lora(file, folder, seed=0, rank=2):
    """A LoRA as diffusers and peft write it, for the UNet of a folder. It changes the self-attentions."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["attn1.to_q", "attn1.to_v"]))
    torch.manual_seed(seed)
    layers = {name: 0.3 * torch.randn_like(tensor) for name, tensor in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(Path(file).parent, unet_lora_layers=layers, weight_name=Path(file).name)
    return Path(file), layers


def write_images(folder, count=24):
    """Painted plates with real handwriting, 32 pixels, as files."""
    from torch.nn.functional import interpolate

    from domain_guidance.pictures.labelled_grid import to_picture
    from domain_guidance.toy_world.digits import load_digits
    from domain_guidance.toy_world.scenes import paint_domain

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plates = paint_domain(load_digits("domain"), count, torch.Generator().manual_seed(0)).images
    for number, image in enumerate(interpolate(plates, scale_factor=2)):
        to_picture(image, 32).save(folder / f"{number:03d}.png")
    return folder
