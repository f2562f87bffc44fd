"""Reading a base model from a diffusers folder: UNet, VAE, noise schedule and the empty prompt.

A folder may leave out what a base does without: the VAE, where the UNet works on pixels, and the text encoder, where
the file `empty_prompt.safetensors` holds what it would say of the empty prompt (`cross_attn`, and `pooled_output` where
the family has one).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data.latent_cache import Encode
from ..diffusion.noise_schedule import NoiseSchedule, scaled_linear
from ..diffusion.parameterization import Prediction
from ..domains.prompt import Prompt
from .reading import reading, variant_of, whole

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, AutoencoderTiny, ConfigMixin, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    Autoencoder = AutoencoderKL | AutoencoderTiny

Network = TypeVar("Network", bound=nn.Module)

logger = logging.getLogger(__name__)

EMPTY_PROMPT_FILE = "empty_prompt.safetensors"
CHANNELS = 4  # diffusers' own default, for configurations that leave the number out


class PixelSpace(nn.Module):
    """What stands for the VAE of a base without one: a picture [B, 3, H, W] in [-1, 1] is its own latent."""

    config: Mapping[str, Any] = {"latent_channels": 3, "scaling_factor": 1.0, "shift_factor": 0.0}

    def decode(self, latent: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latent)


class LatentScale(NamedTuple):
    """How a VAE's latents become the model's: model latent = (VAE latent - shift) scaling."""

    scaling: float
    shift: float

    def to_vae(self, latent: Tensor) -> Tensor:
        """A latent of the model in the VAE's own scale."""
        return latent / self.scaling + self.shift


def latent_scale(vae: Autoencoder | PixelSpace) -> LatentScale:
    """The scale that the VAE's configuration names."""
    return LatentScale(vae.config["scaling_factor"], vae.config["shift_factor"] or 0.0)


def decoded(vae: Autoencoder | PixelSpace, latent: Tensor) -> Tensor:
    """Pixels [B, 3, H, W] of latents in the model's scale, computed in fp32: SDXL's VAE overflows in fp16."""
    decode: Callable[..., Any] = vae.decode
    return decode(latent_scale(vae).to_vae(latent.float())).sample


def on_device(network: Network, device: torch.device, dtype: torch.dtype | None = None) -> Network:
    """The network itself, moved to a device and, where a type is given, cast to it."""
    nn.Module.to(network, device, dtype)  # not through diffusers, which warns of every cast
    return network


@dataclass(frozen=True)
class DiffusersFolder:
    """A saved diffusers pipeline of the Stable Diffusion family, read part by part.

    place: its folder or, with `download`, the name of a repository. Every part is read when it is asked for and kept by
    whoever asked. Raises ValueError for a folder that holds no pipeline.
    """

    place: str
    download: bool = False

    def __post_init__(self):
        if not self.download and not (Path(self.place) / "model_index.json").is_file():
            raise ValueError(
                f"'{self.place}' is not a diffusers folder, for it has no model_index.json: give the folder of a saved "
                "pipeline, or allow the download with --allow-download."
            )

    def unet(self, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        """The base UNet, for evaluation.

        Raises ValueError if the pipeline has another kind of network, or one that reads more than a latent.
        """
        kind = self._unet_class()
        self.check_channels()
        with reading("unet", self.place):
            return whole(kind.from_pretrained(self.place, **self._weights("unet"), torch_dtype=dtype)).eval()

    def unet_without_weights(self) -> UNet2DConditionModel:
        """The base UNet on the meta device, in fp32. Raises ValueError if the pipeline has another kind of network."""
        kind = self._unet_class()
        config = self._config(kind, "unet")
        with reading("unet", self.place), torch.device("meta"):
            return cast("UNet2DConditionModel", kind.from_config(config))

    def check_channels(self) -> None:
        """Raises ValueError for a UNet that takes or gives anything but a latent, as those for inpainting do."""
        from diffusers import UNet2DConditionModel

        latent = self._latent_channels()
        config = self._config(UNet2DConditionModel, "unet")
        with reading("unet", self.place):
            taken, given = config.get("in_channels", CHANNELS), config.get("out_channels", CHANNELS)
        if (taken, given) != (latent, latent):
            raise ValueError(
                f"The UNet of '{self.place}' takes {taken} channels and gives {given}, but its latents have {latent}: "
                "give a base that draws from a prompt alone, and not one for inpainting or editing."
            )

    def vae(self) -> Autoencoder | PixelSpace:
        """The base's VAE, or `PixelSpace`. Raises ValueError if there is none and the UNet does not work on pixels."""
        if not self._has("vae"):
            return self._pixels()
        kind = self._vae_class()
        with reading("vae", self.place):
            vae = whole(kind.from_pretrained(self.place, **self._weights("vae"), torch_dtype=torch.float32))
        return vae.eval().requires_grad_(False)

    @property
    def index(self) -> Mapping[str, Any]:
        """model_index.json: which class each part is of."""
        from diffusers import DiffusionPipeline

        with reading("model_index.json", self.place):
            index = DiffusionPipeline.load_config(self.place, local_files_only=not self.download)
        return cast("Mapping[str, Any]", index)

    @property
    def latent_cell(self) -> int:
        """Pixels along a side of one latent cell."""
        if not self._has("vae"):
            return 1
        config = self._config(self._vae_class(), "vae")
        with reading("vae", self.place):
            return 2 ** (len(config["block_out_channels"]) - 1)

    def schedule(self) -> tuple[NoiseSchedule, Prediction]:
        """The noise levels the base was trained at and what it puts out."""
        from diffusers import DDPMScheduler  # its configuration alone, which every scheduler of the family shares

        config = self._config(DDPMScheduler, "scheduler")
        with reading("scheduler", self.place):
            levels = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
        if config.get("beta_schedule", "scaled_linear") != "scaled_linear":
            raise ValueError(
                f"The base's noise schedule is '{config['beta_schedule']}', expected scaled_linear: train it in "
                "ComfyUI."
            )
        if config.get("rescale_betas_zero_snr"):
            raise ValueError(
                "The base's noise levels are rescaled to zero terminal SNR, expected plain scaled_linear: train "
                "it in ComfyUI."
            )
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"The base predicts '{prediction}', expected epsilon or v_prediction: train it in ComfyUI."
            )
        return scaled_linear(*levels), prediction

    def prompt(self, text: str = "") -> Prompt:
        """The text encoders' output for one prompt; for SDXL both encoders' and the pooled vector of the second.

        Raises ValueError for a prompt with words in it where there is no text encoder.
        """
        if not self._has("text_encoder"):
            return self._stored_prompt(text)
        embeddings, pooled = [], None
        second = self._has("text_encoder_2")
        for number in ("", "_2") if second else ("",):
            encoder = self._encoder(f"text_encoder{number}", bool(number))
            ids = self._tokens(text, f"tokenizer{number}", encoder.config.max_position_embeddings)
            with torch.no_grad():
                output = encoder(ids, output_hidden_states=second)
            embeddings.append(output.hidden_states[-2] if second else output.last_hidden_state)
            pooled = output.text_embeds if number else None
        return Prompt(torch.cat(embeddings, dim=-1), pooled)

    def _unet_class(self) -> type[UNet2DConditionModel]:
        if "unet" not in self.index:
            raise ValueError(
                f"'{self.place}' is a {self.index.get('_class_name')} without a UNet: the command line trains UNets, "
                "the node in ComfyUI trains the others."
            )
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel

    def _vae_class(self) -> type[Autoencoder]:
        from diffusers import AutoencoderKL, AutoencoderTiny

        return AutoencoderTiny if self.index["vae"][1] == AutoencoderTiny.__name__ else AutoencoderKL

    def _latent_channels(self) -> int:
        if not self._has("vae"):
            return self._pixels().config["latent_channels"]
        config = self._config(self._vae_class(), "vae")
        with reading("vae", self.place):
            return config.get("latent_channels", CHANNELS)

    def _pixels(self) -> PixelSpace:
        from diffusers import UNet2DConditionModel

        config = self._config(UNet2DConditionModel, "unet")
        with reading("unet", self.place):
            channels = config["in_channels"]
        if channels != PixelSpace.config["latent_channels"]:
            raise ValueError(
                f"'{self.place}' names no vae in its model_index.json, and its UNet takes {channels} channels, not the "
                "3 of pixels: add the vae."
            )
        return PixelSpace()

    def _stored_prompt(self, text: str) -> Prompt:
        file = Path(self.place) / EMPTY_PROMPT_FILE
        if text or not file.is_file():
            lacks = (
                f"it cannot read '{text}': leave the prompt out"
                if text
                else f"it holds no {EMPTY_PROMPT_FILE} either: add one"
            )
            raise ValueError(f"'{self.place}' has no text encoder, and {lacks}, or give a folder with a text encoder.")
        with reading(EMPTY_PROMPT_FILE, self.place):
            stored = load_file(file)
            pooled = stored.get("pooled_output")
            return Prompt(stored["cross_attn"].float(), None if pooled is None else pooled.float())

    def _tokens(self, text: str, name: str, positions: int) -> Tensor:
        """positions: how many tokens the encoder has places for; a tokenizer may know of no end."""
        from transformers import CLIPTokenizer

        with reading(name, self.place):
            if not self.download and not (Path(self.place) / name).is_dir():  # transformers would make an empty one
                raise FileNotFoundError("there is no such folder")
            tokenizer = CLIPTokenizer.from_pretrained(self.place, **self._part(name))
        limit = min(tokenizer.model_max_length, positions)
        if name == "tokenizer":  # a second one cuts at the same word
            _warn_of_lost(text, tokenizer, limit)
        return tokenizer(text, padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids

    def _encoder(self, name: str, projected: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        kind = CLIPTextModelWithProjection if projected else CLIPTextModel
        with reading(name, self.place):
            encoder = whole(kind.from_pretrained(self.place, **self._weights(name)))
        return encoder.float().eval()  # transformers 5 keeps a folder's own type

    def _has(self, name: str) -> bool:
        return self.index.get(name, [None])[0] is not None

    def _config(self, kind: type[ConfigMixin], name: str) -> dict[str, Any]:
        # Its annotation names a pair, which it gives only where it is asked for more.
        with reading(name, self.place):
            return cast("dict[str, Any]", kind.load_config(self.place, **self._part(name)))

    def _weights(self, name: str) -> dict[str, Any]:
        """As `_part`, for `whole`, with the variant of the weights that a folder on disk holds."""
        variant = variant_of(Path(self.place) / name)
        return self._part(name) | {"output_loading_info": True} | ({"variant": variant} if variant else {})

    def _part(self, name: str) -> dict[str, Any]:
        return {"subfolder": name, "local_files_only": not self.download}


def _warn_of_lost(text: str, tokenizer: CLIPTokenizer, limit: int) -> None:
    """Names the words of a prompt that are cut off."""
    tokens = tokenizer(text, verbose=False).input_ids
    if len(tokens) > limit:
        logger.warning(
            "A prompt is longer than the %d tokens that the text encoder reads, and '%s' is left out: shorten it.",
            limit - 2,  # one each marks the beginning and the end
            tokenizer.batch_decode([tokens[limit - 1 : -1]])[0].strip(),
        )


def encoder_of(vae: Autoencoder | PixelSpace, device: torch.device) -> Encode:
    """What a latent cache calls: pixels [B, 3, H, W] in [-1, 1] -> posterior mean and log-variance on the CPU.

    Pixels that are latents, and latents of an AutoencoderTiny, have no variance, None.
    """
    if isinstance(vae, PixelSpace):
        return lambda pixels: (pixels, None)
    encoder: Callable[..., Any] = on_device(vae, device).encode

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        encoded = encoder(pixels.to(device))
        if hasattr(encoded, "latents"):
            return encoded.latents.cpu(), None
        posterior = encoded.latent_dist
        return posterior.mean.cpu(), posterior.logvar.cpu()

    return encode
