"""CLIP from a transformers folder, whole or only its image half, for measuring pictures. Nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor

from .folder import on_device
from .reading import variant_of

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPVisionModelWithProjection


KINDS = ("clip", "clip_vision_model")
# Of CLIP's release (Radford et al. 2021), where the folder names no others.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipFolder:
    """An `evaluation.Encoder`: pictures to CLIP's image embeddings.

    Raises ValueError for a folder of something else.
    """

    def __init__(self, folder: Path, device: torch.device):
        self._folder, self._device = folder, device
        config = _json(folder / "config.json")
        if config.get("model_type") not in KINDS:
            raise ValueError(
                f"'{folder}' is not a CLIP model's folder, for its config.json names {config.get('model_type')!r}, "
                f"expected one of {', '.join(KINDS)}: give a folder that transformers saved."
            )
        self._model = on_device(_loaded(folder, whole=config["model_type"] == "clip"), device)
        self.size = cast("int", self._model.vision_model.config.image_size)  # a pair for no CLIP
        self.name = folder.resolve().name
        self._mean, self._deviation = _normalisation(folder, device)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        levels = (pixels.to(self._device) + 1) / 2
        seen = self._model.vision_model(pixel_values=(levels - self._mean) / self._deviation)
        return self._model.visual_projection(seen.pooler_output)

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """The embedding [1, D] of a text. Raises ValueError where the folder cannot read any."""
        from transformers import CLIPModel, CLIPTokenizer

        model = self._model
        if not isinstance(model, CLIPModel) or not (self._folder / "tokenizer_config.json").is_file():
            raise ValueError(
                f"'{self._folder}' cannot read text: give the folder of a whole CLIP with its tokenizer, or leave the "
                "prompt out."
            )
        tokens = CLIPTokenizer.from_pretrained(self._folder, local_files_only=True)(
            text, truncation=True, return_tensors="pt"
        ).to(self._device)
        return model.text_projection(model.text_model(**tokens).pooler_output).cpu()


def _loaded(folder: Path, whole: bool) -> CLIPModel | CLIPVisionModelWithProjection:
    """A weight that the folder lacks would be random, so it is refused."""
    from transformers import CLIPModel, CLIPVisionModelWithProjection

    kind = CLIPModel if whole else CLIPVisionModelWithProjection
    load: Callable[..., Any] = kind.from_pretrained  # its annotation knows nothing of the loading info
    try:
        model, found = load(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            variant=variant_of(folder),
            dtype=torch.float32,
        )
    except OSError as error:
        raise ValueError(
            f"'{folder}' holds no weights in the safetensors format: give a folder with model.safetensors."
        ) from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"The weights of '{folder}' cannot be read ({reason}): copy the folder again.") from error
    if found["missing_keys"]:
        raise ValueError(
            f"'{folder}' lacks the weight '{sorted(found['missing_keys'])[0]}': give a CLIP with its projection."
        )
    return model.eval()


def _normalisation(folder: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the pixels, [3, 1, 1]."""
    path = folder / "preprocessor_config.json"
    values = _json(path) if path.is_file() else {}
    given = (values.get("image_mean", MEAN), values.get("image_std", DEVIATION))
    mean, deviation = (torch.tensor(numbers, device=device)[:, None, None] for numbers in given)
    return mean, deviation


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}, expected an object")
        return values
    except (OSError, ValueError) as error:
        raise ValueError(
            f"'{path}' cannot be read as JSON ({error}): give a folder that transformers saved."
        ) from error
