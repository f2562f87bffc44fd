"""Reading what diffusers and transformers saved: which weights of a folder to take, and errors in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

# As diffusers and transformers name them: `model.safetensors`, `model.fp16.safetensors`,
# `model.fp16-00001-of-00002.safetensors`.
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model|pytorch_model)(?:\.([a-z]\w*))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)"
)
_PREFERRED = ("fp16", "bf16", "fp32")  # of the variants that repositories offer; any other comes after these


def variant_of(folder: Path) -> str | None:
    """Which variant of its weights a folder holds, such as fp16; None where it has the plain ones, or none at all."""
    found = {match[1] for path in folder.glob("*") if (match := _WEIGHTS.fullmatch(path.name))}
    if not found or None in found:
        return None
    return min(found, key=lambda name: (_PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED), name))


@contextmanager
def reading(part: str, place: str | Path) -> Iterator[None]:
    """Turns what the libraries raise for a folder that they cannot read into one sentence, a ValueError.

    part: of the pipeline, such as `unet`. The system's own errors, such as a full disk, pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error, FileNotFoundError):
            raise
        raise _unreadable(part, place, error) from error
    except (ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise _unreadable(part, place, error) from error
    except RuntimeError as error:
        if "size" not in str(error) and "state_dict" not in str(error):  # of the device, not of the file
            raise
        raise _unreadable(part, place, error) from error


def whole(loaded: Any) -> Any:
    """The module out of what `from_pretrained(..., output_loading_info=True)` gives, whose types name the module alone.

    Raises ValueError where the file lacks a weight, which the library would fill with random numbers.
    """
    module, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"it lacks the weight '{missing[0]}'")
    return module


def _unreadable(part: str, place: str | Path, error: Exception) -> ValueError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[0] if lines else type(error).__name__).split(". ")[0].rstrip(".:")
    if isinstance(error, KeyError):
        reason = f"it lacks {reason}"
    return ValueError(
        f"The {part} of '{place}' cannot be read ({reason}): give the whole folder of a pipeline that diffusers saved."
    )
