"""Where the arithmetic of a step happens: in one process here, in several with accelerate (`accelerated`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Process(Protocol):
    """One of `world` processes that train the same parameters, numbered by `rank`; 0 writes the files."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def prepare(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., Tensor]:
        """What to call instead of the network, so that gradients are averaged over processes."""
        ...

    def arithmetic(self) -> AbstractContextManager:
        """Within the block the network computes in the run's precision."""
        ...

    def accumulating(self) -> AbstractContextManager:
        """Within the block gradients are only added up, not exchanged."""
        ...

    def backward(self, loss: Tensor) -> None: ...

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """Scale the gradients down to the norm where theirs is larger. Returns the norm before."""
        ...

    def step(self) -> None:
        """Step the optimiser, then forget the gradients."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        ...

    def wait(self) -> None:
        """Go on when every process is here."""
        ...

    def of_first(self, value: Any) -> Any:
        """The plain value that process 0 gives, in every process, once all are here."""

    def scaling(self) -> dict[str, Any]:
        """fp16's loss scale, to be saved with the run; empty in other precisions."""
        ...

    def restore_scaling(self, saved: dict[str, Any]) -> None: ...


class OneProcess:
    """The `Process` of a run that has no other. device: the type of the module's device, 'cpu' or 'cuda'."""

    rank, world = 0, 1

    def __init__(self, precision: Precision = "fp32", device: str = "cpu"):
        self._device, self._precision = device, precision
        self._scaler = torch.amp.GradScaler(device) if precision == "fp16" else None

    def prepare(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., Tensor]:
        self._optimizer = optimizer
        return network

    def arithmetic(self) -> AbstractContextManager:
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device, AUTOCAST[self._precision])

    def accumulating(self) -> AbstractContextManager:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        if self._scaler:
            self._scaler.unscale_(self._optimizer)
        return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))

    def step(self) -> None:
        if self._scaler:  # leaves the step out where the gradients are not finite, and lowers the scale
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def mean(self, value: Tensor) -> Tensor:
        return value

    def wait(self) -> None: ...

    def of_first(self, value: Any) -> Any:
        return value

    def scaling(self) -> dict[str, Any]:
        return self._scaler.state_dict() if self._scaler else {}

    def restore_scaling(self, saved: dict[str, Any]) -> None:
        if self._scaler and saved:
            self._scaler.load_state_dict(saved)
