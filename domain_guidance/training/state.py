"""Saving and resuming a run, in one safetensors file: tensors only, so that reading it can run no code."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .loop import TrainingState


def save_state(path: str | os.PathLike, state: TrainingState) -> None:
    """Write parameters, averages, AdamW's moments and the step; an interrupted write leaves the old file in place."""
    save_tensors(path, _tensors(state), {"step": str(state.step)})


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that `path` never holds a part of one."""
    partial = Path(f"{path}.part")
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, path)


def load_state(path: str | os.PathLike, state: TrainingState) -> None:
    """Put a saved run into `state`, which must be made of the same model. Raises ValueError if it is not."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        step = int((file.metadata() or {}).get("step", 0))
    _check_belongs(tensors, step, state, Path(path).name)
    _restore(state, tensors, step)


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    if not state.step:
        raise ValueError("There is nothing to save before the first step: train first.")
    tensors = {}
    for name, parameter in state.parameters.items():
        moments = state.optimizer.state[parameter]
        tensors[f"parameter.{name}"] = parameter.detach().contiguous()
        tensors[f"average.{name}"] = state.ema.averages[name].contiguous()
        tensors[f"moment1.{name}"] = moments["exp_avg"].contiguous()
        tensors[f"moment2.{name}"] = moments["exp_avg_sq"].contiguous()
    return tensors


def _check_belongs(tensors: dict[str, Tensor], step: int, state: TrainingState, name: str) -> None:
    shapes = {f"{kind}.{key}": p.shape for key, p in state.parameters.items() for kind in ("parameter", "average", "moment1", "moment2")}
    if not step or {key: tensor.shape for key, tensor in tensors.items()} != shapes:
        raise ValueError(f"'{name}' is no saved run of this model: delete it to start anew, or name the right one.")


@torch.no_grad()
def _restore(state: TrainingState, tensors: dict[str, Tensor], step: int) -> None:
    state.step = step
    for name, parameter in state.parameters.items():
        parameter.copy_(tensors[f"parameter.{name}"])
        state.ema.averages[name].copy_(tensors[f"average.{name}"])
        state.optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"moment1.{name}"].to(parameter),
            "exp_avg_sq": tensors[f"moment2.{name}"].to(parameter),
        }
