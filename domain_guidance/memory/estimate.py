"""What a training will need of the device's memory, said before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

MEBIBYTE, GIBIBYTE = 2**20, 2**30


def readable(size: int) -> str:
    """Bytes in the unit that memory is sold in."""
    return f"{size / GIBIBYTE:.2f} GiB" if size >= GIBIBYTE / 10 else f"{size / MEBIBYTE:.2f} MiB"


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by part. activations: what one micro-batch keeps for its gradient; the backward pass needs some more."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int = 0

    @property
    def certain(self) -> int:
        """Weights, gradients and optimiser state: what no smaller batch can spare."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return self.certain + self.average + self.activations

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {readable(size)}" for name, size in asdict(self).items())
        return f"at least {readable(self.total)} of memory ({parts})"


def memory_estimate(
    module: nn.Module, *, eight_bit_adam: bool = False, average: bool = True, activations: int = 0
) -> MemoryEstimate:
    """Bytes by part for a module whose trained parameters require a gradient.

    AdamW keeps two moments a parameter, of 4 bytes or of 1. activations: measured, see `activation_bytes`.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    size = sum(p.nbytes for p in trained)
    everything = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    moments = 2 * sum(p.numel() for p in trained) if eight_bit_adam else 2 * size
    return MemoryEstimate(everything, size, moments, size if average else 0, activations)


def whole_network_estimate(module: nn.Module, *, eight_bit_adam: bool = False) -> MemoryEstimate:
    """Bytes by part where every parameter is trained in fp32.

    The module may be held in any type, and on the meta device.
    """
    size = 4 * sum(p.numel() for p in module.parameters())
    return MemoryEstimate(
        size + sum(buffer.nbytes for buffer in module.buffers()), size, size // 2 if eight_bit_adam else 2 * size, size
    )


def check_fits(memory: MemoryEstimate, available: int | None) -> None:
    """Refuses what cannot work whatever the batch: weights, gradients and optimiser state beyond the device's memory.

    available: bytes of the device, None where it is not known. Raises ValueError naming a setting that fits.
    """
    if available is None or memory.certain <= available:
        return
    smaller = replace(memory, optimizer=memory.gradients // 2)  # two moments of a byte, where the gradient has four
    fitting = "switch 8-bit AdamW on, or train" if smaller.certain < min(memory.certain, available + 1) else "train"
    raise ValueError(
        f"Weights, gradients and optimiser state alone take {readable(memory.certain)} and the device has "
        f"{readable(available)}: {fitting} the adapter form, which keeps gradients and moments of the adapter alone."
    )


def device_memory(device: torch.device) -> int | None:
    """Bytes of the device's memory; None on a CPU, which can swap."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
