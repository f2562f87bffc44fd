"""Training in several processes, on one machine or many, through accelerate. Start it with `accelerate launch`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class AcceleratedProcess:
    """The `Process` of a run under accelerate. accelerator: made with the run's precision as `mixed_precision`."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self._network: Any = None
        self._optimizer: Any = None

    def prepare(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., Tensor]:
        self._network, self._optimizer = self._accelerator.prepare(network, optimizer)
        return self._network

    def arithmetic(self) -> AbstractContextManager:
        return self._accelerator.autocast()

    def accumulating(self) -> AbstractContextManager:
        return self._accelerator.no_sync(self._network)

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        return float(cast("Tensor", self._accelerator.clip_grad_norm_(parameters, max_norm)))

    def step(self) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def mean(self, value: Tensor) -> Tensor:
        # On the accelerator's device: NCCL reduces nothing that lies on the CPU.
        return cast("Tensor", self._accelerator.reduce(value.to(self._accelerator.device), reduction="mean"))

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def of_first(self, value: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def scaling(self) -> dict[str, Any]:
        return self._accelerator.scaler.state_dict() if self._accelerator.scaler else {}

    def end(self) -> None:
        """Leave the group, with nothing left that could hold it.

        A process that ends while the group's threads still let go of tensors can be aborted by them, after all its work
        is done. It may end before anything was prepared, as a command that is refused does.
        """
        self._network = self._optimizer = None
        self._accelerator.free_memory()
        self._accelerator.end_training()

    def restore_scaling(self, saved: dict[str, Any]) -> None:
        if self._accelerator.scaler and saved:
            self._accelerator.scaler.load_state_dict(saved)
