"""The host's fused kernels in a training: those without a gradient are computed in plain operations, which have one.

The host switches most of them off itself while it trains; some networks call them whatever it says (Ernie, Anima).
"""

from __future__ import annotations

from collections.abc import Callable

import comfy.quant_ops
from torch.overrides import TorchFunctionMode

NAMESPACE = "comfy_kitchen::"


class PlainKernels(TorchFunctionMode):
    """Within the block a call of a fused kernel becomes one of its plain counterpart."""

    def __init__(self):
        super().__init__()
        kitchen = getattr(comfy.quant_ops, "ck", None)
        self._plain = getattr(getattr(kitchen, "backends", None), "eager", None)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (self._counterpart(func) or func)(*args, **(kwargs or {}))

    def _counterpart(self, func) -> Callable | None:
        name = getattr(func, "_qualified_op_name", "")
        if not name.startswith(NAMESPACE):
            return None
        return getattr(self._plain, name.removeprefix(NAMESPACE), None)
