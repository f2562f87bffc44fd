"""A CLIP of a few thousand random weights as a folder that transformers saved."""

import json
from pathlib import Path

import torch

WORDS = ["<|startoftext|>", "<|endoftext|>", "a</w>", "plate</w>", "horse</w>"]


def write_clip(folder, seed=0):
    """Both halves and a tokenizer; the image half reads 32 x 32 pixels and answers with 16 numbers."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    folder = Path(folder)
    torch.manual_seed(seed)
    half = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    text = {**half, "vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**half, "image_size": 32, "patch_size": 8}, projection_dim=16)
    model = CLIPModel(config)
    model.visual_projection.weight.data *= 50  # its small start would leave all pictures alike
    model.save_pretrained(folder)
    words = folder / "words"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(WORDS)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=8).save_pretrained(folder)
    return folder
