"""Numbers that need fp64, on devices that have none: Apple's GPUs, DirectML and some of Intel's."""

from __future__ import annotations

import torch
from torch import Tensor


def in_double(tensor: Tensor) -> Tensor:
    """The tensor in fp64: on its own device, or on the CPU where that device has no fp64."""
    return tensor.double() if has_double(tensor.device) else tensor.cpu().double()


def has_double(device: torch.device) -> bool:
    """Whether tensors in fp64 can be on this device."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type not in ("mps", "privateuseone")  # DirectML calls itself the latter
