"""The moving average of the weights, which is what gets used in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


def ema_decay(step: int) -> float:
    """min(0.9999, 1 - (1 + n)^(-2/3)) after n steps (the released training of arXiv 2312.08195)."""
    return min(0.9999, 1 - (1 + step) ** (-2 / 3))


class Ema:
    """Averages of named parameters, none of them for a run without; `update` after every optimiser step."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        self.parameters = dict(parameters)
        self.averages = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move every average towards its parameter; `step` counts from 1."""
        share = 1 - ema_decay(step)
        for name, parameter in self.parameters.items():
            self.averages[name].lerp_(parameter, share)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the block the model computes with the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def copy_to_model(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(self.averages[name])

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.averages[name] = self.averages[name], parameter.data
