"""Mini checkpoints, made at test time: real architectures of the host with few layers and seeded random weights.

The noise that a mini UNet predicts is its own input, scaled to unit deviation, plus a random function of input,
noise level and text. The latents of a run then stay within tens of units and a relative error of 5e-6 means something;
with purely random weights they grow to several hundred.
"""

import math
from pathlib import Path

import torch
from probe_nodes import seeded
from safetensors.torch import load_file, save_file

PREFIX = "model.diffusion_model."
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [0, 0],
    "transformer_depth_middle": -2,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 8,
    "num_head_channels": -1,
}
SD20 = {**UNET, "context_dim": 1024, "use_linear_in_transformer": True, "num_heads": -1, "num_head_channels": 64}
SDXL = {
    **SD20,
    "context_dim": 2048,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [3],
    "transformer_depth": [0, 2, 5],
    "transformer_depth_output": [0, 0, 0, 0],
}
# The middle block is what PAG and SAG patch, 640 channels are what FreeU scales.
MIDDLE = {
    **UNET,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 0],
    "transformer_depth_output": [0, 0, 0, 0],
    "transformer_depth_middle": 1,
}
SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 64,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128}},
    "num_patches": 256,
    "pos_embed_max_size": 16,
}
FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 64,
    "context_in_dim": 64,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
# Eight times as deep, for benchmarks: most of the time goes where it does in the models that people run.
DEEP_SD3 = {
    **SD3,
    "depth": 8,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 512}},
}
DEEP_FLUX = {**FLUX, "hidden_size": 512, "num_heads": 4, "depth": 3, "depth_single_blocks": 6}
# family -> (dimension of the text embedding, of the pooled vector, latent channels, prediction as a domain card names
# it)
FAMILIES = {
    "sd15": (768, 0, 4, "epsilon"),
    "sd20": (1024, 0, 4, "epsilon"),
    "sdxl": (2048, 1280, 4, "epsilon"),
    "sd3": (64, 64, 16, "flow"),
    "flux": (64, 64, 16, "flow"),
    "sd15_middle": (768, 0, 4, "epsilon"),
    "sd15_inpaint": (768, 0, 4, "epsilon"),
    "sd3_deep": (64, 64, 16, "flow"),
    "flux_deep": (64, 64, 16, "flow"),
}
VARIANTS = ("sd15_middle", "sd15_inpaint", "sd3_deep", "flux_deep")  # of the others, for few tests or none


def _module(family):
    import comfy.ldm.flux.model
    import comfy.ldm.modules.diffusionmodules.mmdit
    import comfy.ldm.modules.diffusionmodules.openaimodel
    import comfy.ops

    unets = {
        "sd15": UNET,
        "sd20": SD20,
        "sdxl": SDXL,
        "sd15_middle": MIDDLE,
        "sd15_inpaint": {**UNET, "in_channels": 9},
    }
    common = {"dtype": torch.float32, "device": "cpu", "operations": comfy.ops.disable_weight_init}
    if family in unets:
        return comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel(**unets[family], **common)
    if family.startswith("sd3"):
        return comfy.ldm.modules.diffusionmodules.mmdit.MMDiT(**(DEEP_SD3 if family == "sd3_deep" else SD3), **common)
    return comfy.ldm.flux.model.Flux(**(DEEP_FLUX if family == "flux_deep" else FLUX), **common)


def _random_like(state, seed):
    """Fan-in scaled weights; norms near one; text made loud enough that a wrong prompt is seen."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name, tensor):
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() < 2:
            is_scale = name.endswith((".weight", ".scale"))
            return 1.0 + 0.05 * noise if is_scale else 0.05 * noise
        gain = 3.0 if name.endswith("attn2.to_v.weight") else 1.0
        return gain * noise / math.sqrt(tensor[0].numel())

    return {name: draw(name, tensor) for name, tensor in state.items()}


def _predict_own_input(state, strength=0.5):
    """Rewrite 40 channels of the last block as a wire for the input: silu(a) - silu(-a) = a, one group norm group per
    latent channel.
    """
    wire = torch.zeros(40, 4)
    for channel in range(4):
        wire[10 * channel : 10 * channel + 10, channel] = torch.tensor([1.0, -1.0] * 5)
    last = max(int(name.split(".")[1]) for name in state if name.startswith("output_blocks."))
    first, skip = state["input_blocks.0.0.weight"], state[f"output_blocks.{last}.0.skip_connection.weight"]
    first[:40] = 0.0
    first[:40, :4, 1, 1] = wire
    skip[:40] = 0.0
    skip[torch.arange(40), skip.shape[1] - first.shape[0] + torch.arange(40)] = 1.0
    state["out.2.weight"] *= strength
    state["out.2.weight"][:, :40] = 0.0
    state["out.2.weight"][:, :40, 1, 1] = 0.2 * wire.T
    for name in (
        "input_blocks.0.0.bias",
        f"output_blocks.{last}.0.skip_connection.bias",
        f"output_blocks.{last}.0.out_layers.3.weight",
        f"output_blocks.{last}.0.out_layers.3.bias",
        "out.0.bias",
    ):
        state[name][:40] = 0.0
    state["out.0.weight"][:40] = 1.0


def weights(family, seed=0):
    """The network's weights, without prefix."""
    state = _random_like(_module(family).state_dict(), seed)
    if "out.2.weight" in state:
        _predict_own_input(state)
    else:
        state["final_layer.linear.weight"] *= 0.5
    return state


def trained(state, seed=1, amount=0.3):
    """The same network after 'training': every matrix moved by `amount` of itself."""
    return {
        name: tensor * (1.0 + amount * seeded(seed, *tensor.shape)) if tensor.dim() > 1 else tensor
        for name, tensor in state.items()
    }


def without_text(state, seed=2):
    """The same UNet with each cross-attention a constant vector, in the standard key layout."""
    changed = dict(state)
    for name in state:
        if name.endswith("attn2.to_v.weight"):
            changed[name] = torch.zeros_like(state[name])
            bias = name.replace("to_v.weight", "to_out.0.bias")
            changed[bias] = 0.5 * seeded(seed, *state[bias].shape)
    return changed


def empty_embedding(family):
    """(cross_attn [1,77,D], pooled [1,P] or None): what ProbeConditioning gives for seed 0."""
    dim, pooled, _, _ = FAMILIES[family]
    return seeded(0, 1, 77, dim), seeded(1, 1, pooled) if pooled else None


def tiny_vae():
    from comfy.taesd.taesd import TAESD

    return {f"first_stage_model.{k}": v for k, v in _random_like(TAESD().state_dict(), 11).items() if v.dim() > 0} | {
        "first_stage_model.vae_scale": torch.tensor(1.0),
        "first_stage_model.vae_shift": torch.tensor(0.0),
    }


def clip_l():
    """A CLIP-L text encoder: the host fixes its size (123 M), so it is the one large mini.

    Half precision, one random layer repeated.
    """
    prefix, layers = "cond_stage_model.transformer.text_model.", 12
    block = {
        "layer_norm1.weight": (768,),
        "layer_norm1.bias": (768,),
        "layer_norm2.weight": (768,),
        "layer_norm2.bias": (768,),
        "mlp.fc1.weight": (3072, 768),
        "mlp.fc1.bias": (3072,),
        "mlp.fc2.weight": (768, 3072),
        "mlp.fc2.bias": (768,),
    }
    for part in ("q", "k", "v", "out"):
        block |= {f"self_attn.{part}_proj.weight": (768, 768), f"self_attn.{part}_proj.bias": (768,)}
    block = {k: v.half() for k, v in _random_like({k: torch.empty(s) for k, s in block.items()}, 5).items()}
    state = {f"{prefix}encoder.layers.{n}.{k}": v.clone() for n in range(layers) for k, v in block.items()}
    state[f"{prefix}embeddings.token_embedding.weight"] = (0.1 * seeded(6, 49408, 768)).half()
    state[f"{prefix}embeddings.position_embedding.weight"] = (0.1 * seeded(7, 77, 768)).half()
    state[f"{prefix}final_layer_norm.weight"], state[f"{prefix}final_layer_norm.bias"] = (
        torch.ones(768).half(),
        torch.zeros(768).half(),
    )
    return state


def controlnet():
    from comfy.cldm.cldm import ControlNet

    config = {k: v for k, v in UNET.items() if k not in ("out_channels", "transformer_depth_middle")}
    module = ControlNet(**config, transformer_depth_middle=-2, hint_channels=3, dtype=torch.float32, device="cpu")
    return _random_like(module.state_dict(), 21)


def clip_vision():
    """A CLIP vision tower of two layers, projection [1, 32]."""
    from comfy.clip_vision import ClipVisionModel

    model = ClipVisionModel(
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "model_type": "clip_vision_model",
            "num_channels": 3,
            "image_size": 224,
            "projection_dim": 32,
        }
    )
    model.load_sd(_random_like(model.get_sd(), 31))
    return model


def ip_adapter():
    """Weights for cubiq's pack: the mini SD1.5 has one cross-attention, which the pack numbers 1."""
    shapes = {
        "image_proj.proj.weight": (4 * 768, 32),
        "image_proj.proj.bias": (4 * 768,),
        "image_proj.norm.weight": (768,),
        "image_proj.norm.bias": (768,),
        "ip_adapter.1.to_k_ip.weight": (320, 768),
        "ip_adapter.1.to_v_ip.weight": (320, 768),
    }
    state = _random_like({k: torch.empty(s) for k, s in shapes.items()}, 41)
    state["ip_adapter.1.to_v_ip.weight"] *= 3.0
    return state


def lora(state, seed=51, rank=4, scale=0.5):
    """A low-rank change of every linear and convolution weight outside of the first and the last layer."""
    out = {}
    for name, tensor in state.items():
        if not name.endswith(".weight") or tensor.dim() < 2 or name.startswith(("out.", "input_blocks.0.")):
            continue
        base = f"diffusion_model.{name.removesuffix('.weight')}"
        rows, spread = tensor.shape[0], scale / math.sqrt(rank * tensor[0].numel())
        out[f"{base}.lora_up.weight"] = seeded(seed, rows, rank, *[1] * (tensor.dim() - 2))
        out[f"{base}.lora_down.weight"] = spread * seeded(seed + 1, rank, *tensor.shape[1:])
        out[f"{base}.alpha"] = torch.tensor(float(rank))
        seed += 2
    return out


class MiniModels:
    """Writes the files on first use into the models folder of a base directory and answers with their names."""

    def __init__(self, models_directory, domain_file=None, fingerprint=None):
        self.root = Path(models_directory)
        self.domain_file, self.fingerprint = domain_file, fingerprint

    def unet(self, family):
        """diffusion_models/<family>.safetensors"""
        return self._once("diffusion_models", f"{family}.safetensors", lambda: _prefixed(weights(family)))

    def checkpoint(self, family="sd15", name=None, text_encoder=False, change=None):
        """checkpoints/<family>.safetensors: UNet and tiny VAE, a text encoder only where asked (it is large); `change`:
        of the UNet's weights.
        """

        def build():
            unet = weights(family)
            return _prefixed(change(unet) if change else unet) | tiny_vae() | (clip_l() if text_encoder else {})

        return self._once("checkpoints", name or f"{family}.safetensors", build)

    def fine_tuned(self, family):
        """diffusion_models/<family>_tuned.safetensors: a checkpoint as others train it, without card and embedding."""
        return self._once(
            "diffusion_models", f"{family}_tuned.safetensors", lambda: _prefixed(trained(weights(family)))
        )

    def changed(self, change, name, family="sd15"):
        """diffusion_models/<name>: the family's weights after `change(name, tensor)`."""
        return self._once(
            "diffusion_models",
            name,
            lambda: _prefixed({key: change(key, value) for key, value in weights(family).items()}),
        )

    def lora(self, family="sd15", name=None, seed=51):
        return self._once("loras", name or f"{family}_lora.safetensors", lambda: lora(weights(family), seed))

    def controlnet(self, name="mini_controlnet.safetensors"):
        return self._once("controlnet", name, controlnet)

    def ip_adapter(self, name="ip-adapter_sd15.safetensors"):
        return self._once("ipadapter", name, ip_adapter)

    def domain(
        self,
        family="sd15",
        *,
        change=None,
        form="text-based",
        base_family=None,
        name=None,
        with_pooled=True,
        cross_attn=None,
    ):
        """A domain file: `change` maps the base's weights to the domain's; None leaves them untrained.

        `base_family` names another base for the fingerprint, `with_pooled=False` leaves the pooled vector out,
        `cross_attn` replaces the tests' empty prompt.
        """
        name = name or "_".join(
            [family, form, change.__name__ if change else "untrained", base_family or "", "domain.safetensors"]
        )
        path = self.root / "diffusion_models" / name
        if not path.exists():
            self._write_domain(path, family, change, form, base_family, with_pooled, cross_attn)
        return name

    def _write_domain(self, path, family, change, form, base_family, with_pooled, cross_attn):
        base = weights(family)
        parent = base if base_family is None else weights(base_family, seed=99)
        empty, pooled = empty_embedding(family)
        card = self.domain_file.DomainCard(
            form=form,
            prediction=FAMILIES[family][3],
            base_fingerprint=self.fingerprint(parent),
            base_name=f"mini {family}",
            recommended_weight=1.5,
            recommended_cfg=3.0,
            training={"steps": 0},
            layout="host",
            format_version=1,
        )
        changed = change(base) if change else base
        self.domain_file.write_domain_file(
            path,
            _prefixed(changed),
            card=card,
            cross_attn=empty if cross_attn is None else cross_attn,
            pooled_output=pooled if with_pooled else None,
        )

    def _once(self, folder, name, build):
        path = self.root / folder / name
        if not path.exists():
            save_file({k: v.contiguous() for k, v in build().items()}, str(path))
        return name

    def read(self, folder, name):
        return load_file(str(self.root / folder / name))


def _prefixed(state):
    return {PREFIX + name: tensor for name, tensor in state.items()}
