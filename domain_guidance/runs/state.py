"""Saving and resuming a run, in one safetensors file: tensors only, so that reading it can run no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.atomic_file import save_tensors
from .loop import TrainingState


def save_state(path: str | os.PathLike, state: TrainingState, record: Mapping[str, Any] | None = None) -> None:
    """Write parameters, averages, the optimiser's state and the step, atomically.

    record: whatever else belongs to the run, plain JSON values. Raises FloatingPointError for weights that are not
    finite.
    """
    if not state.step:
        raise ValueError("There is nothing to save before the first step: train first.")
    if not state.whole:
        raise ValueError(f"The step after {state.step} is half done: resume from the last state that was saved.")
    if not all(_is_finite(parameter) for parameter in state.parameters.values()):
        raise FloatingPointError(
            f"The weights of step {state.step} hold NaN or infinity and are not saved: lower the learning rate and "
            "train a new version."
        )
    save_tensors(path, _tensors(state), {"step": str(state.step), "record": json.dumps(record or {})})


def load_state(path: str | os.PathLike, state: TrainingState) -> dict[str, Any]:
    """Put a saved run into `state`, which must be made of the same model; the record saved with it.

    Raises ValueError for another model's, or a file that is not a saved run.
    """
    tensors, step, record = _read(Path(path))
    _check_belongs(tensors, step, state, Path(path).name)
    _restore(state, tensors, step)
    return record


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """The record of a saved run, without reading its tensors. Raises ValueError for any other file."""
    with _opened(Path(path)) as file:
        return json.loads((file.metadata() or {}).get("record", "{}"))


def _read(path: Path) -> tuple[dict[str, Tensor], int, dict[str, Any]]:
    with _opened(path) as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    return tensors, int(metadata.get("step", 0)), json.loads(metadata.get("record", "{}"))


def _opened(path: Path):
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"'{path.name}' is not a saved run ({error}): delete it to start afresh.") from error


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in state.parameters.items():
        tensors[f"parameter.{name}"] = parameter.detach().contiguous()
    for name, average in state.ema.averages.items():
        tensors[f"average.{name}"] = average.contiguous()
    for (
        name,
        parameter,
    ) in state.parameters.items():  # nothing before the optimiser's first step, which fp16 may leave out
        for kind, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{kind}.{name}"] = torch.as_tensor(value).contiguous()
    return _each_with_its_own_memory(tensors)


def _each_with_its_own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of what shares memory, which no safetensors file may hold: bitsandbytes gives all parameters one table."""
    known, apart = set(), {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in known else tensor
        known.add(memory)
    return apart


@torch.no_grad()
def _is_finite(parameter: Tensor) -> bool:
    # One number, and no mask of the parameter's size: the device may be full when the state is saved.
    return bool(torch.linalg.vector_norm(parameter, torch.inf).isfinite())


def _check_belongs(tensors: dict[str, Tensor], step: int, state: TrainingState, name: str) -> None:
    parts = {"parameter": state.parameters, "average": state.ema.averages}
    wanted = {f"{kind}.{key}": tensor.shape for kind, part in parts.items() for key, tensor in part.items()}
    found = {key: tensor.shape for key, tensor in tensors.items() if not key.startswith("optimizer.")}
    if not step or found != wanted:
        raise ValueError(
            f"'{name}' is a saved run of another network, whose tensors have other names or sizes than those that are "
            "trained now: choose another name, start a new version, or use the images and the model that it began with."
        )


@torch.no_grad()
def _restore(state: TrainingState, tensors: dict[str, Tensor], step: int) -> None:
    state.step = step
    for name, parameter in state.parameters.items():
        parameter.copy_(tensors[f"parameter.{name}"])
    for name, average in state.ema.averages.items():
        average.copy_(tensors[f"average.{name}"])
    numbers = {name: number for number, name in enumerate(state.parameters)}
    saved: dict[int, dict[str, Tensor | float]] = {}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        if part == "optimizer":
            kind, _, name = rest.partition(".")
            # A whole number without dimensions was a plain int: AdamW's own step is a float tensor, bitsandbytes' an
            # int.
            plain = value.ndim == 0 and not value.is_floating_point()
            saved.setdefault(numbers[name], {})[kind] = value.item() if plain else value
    state.optimizer.load_state_dict({"state": saved, "param_groups": state.optimizer.state_dict()["param_groups"]})
    _take_off_the_file(state.optimizer)


def _take_off_the_file(optimizer: torch.optim.Optimizer) -> None:
    """What the optimiser kept as it was read maps the file, which then could not be replaced on Windows."""
    for kept in optimizer.state.values():
        kept.update({kind: value.clone() for kind, value in kept.items() if _on_the_cpu(value)})


def _on_the_cpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"
