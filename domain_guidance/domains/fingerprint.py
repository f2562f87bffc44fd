"""Which base a domain model was trained from, told from the base's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

TENSORS = 8
ELEMENTS = 8192


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """A hash, 16 hexadecimal digits, of a few named tensors of a base UNet (our choice).

    weights: the base's state dict in the host layout without prefix (`unet_layouts.diffusers_to_host` makes it).

    Names, shapes and the *signs* of evenly spaced elements are hashed. A sign survives the cast between fp32, fp16,
    bf16 and fp8, so one checkpoint has one fingerprint in whatever precision a host loads it, while a fine-tune or a
    merge turns some of these 65,536 signs.
    """
    digest = hashlib.sha256()
    for name in chosen_names(weights):
        tensor = weights[name]
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(_signs(tensor))
    return digest.hexdigest()[:16]


def chosen_names(weights: Mapping[str, Tensor]) -> list[str]:
    """The matrices that the fingerprint looks at: evenly spaced over the sorted names, so over the depth of the net."""
    matrices = sorted(name for name, tensor in weights.items() if tensor.ndim >= 2)
    stride = max(1, len(matrices) // TENSORS)
    return matrices[::stride][:TENSORS]


def _signs(tensor: Tensor) -> bytes:
    flat = tensor.detach().flatten()
    picked = flat[:: max(1, flat.numel() // ELEMENTS)][:ELEMENTS]
    # Widening keeps the sign, also that of a value that underflowed to zero in a narrow type.
    return np.packbits(torch.signbit(picked.float()).cpu().numpy()).tobytes()
