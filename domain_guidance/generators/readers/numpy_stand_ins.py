"""Inert stand-ins for NumPy's pickles.

A forged real dtype ends the process, so no real one is made from a file's word.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import Refused
from .pickle_machine import Name
from .stored import StoredTensor, contiguous

DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


class DType:
    """For numpy.dtype: one of DTYPES, little-endian."""

    def __init__(self, arguments: tuple):
        code = arguments[0] if arguments else None
        if not isinstance(code, str) or code not in DTYPES:
            raise Refused("it has an array of something other than plain numbers")
        self.torch = DTYPES[code]

    def build(self, state: Any) -> None:
        if (
            not isinstance(state, tuple)
            or len(state) < 5
            or state[1] not in ("<", "|", "=")
            or any(part is not None for part in state[2:5])
        ):
            raise Refused("it has an array whose numbers are not plain and little-endian")


class Array:
    """For numpy.ndarray, as _reconstruct begins it and its state completes it."""

    tensor: StoredTensor | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("it has an array without a state that NumPy writes")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DType) or not isinstance(data, memoryview) or len(data) % dtype.torch.itemsize:
            raise Refused("it has an array whose data are not plain numbers")
        self.tensor = contiguous(dtype.torch, shape, data, first_axis_fastest=fortran is True)


def reconstruct(arguments: tuple) -> Array:
    """For numpy's _reconstruct, of (numpy.ndarray, (0,), b"b")."""
    if not arguments or not isinstance(arguments[0], Name) or arguments[0].full != "numpy.ndarray":
        raise Refused("it rebuilds something other than an array")
    return Array()


def scalar(arguments: tuple) -> int | float | bool:
    """For numpy's scalar, of (dtype, bytes)."""
    if len(arguments) != 2 or not isinstance(arguments[0], DType) or not isinstance(arguments[1], memoryview):
        raise Refused("it has a NumPy scalar that is not a number")
    return contiguous(arguments[0].torch, (), arguments[1]).read().item()


def _array_itself(arguments: tuple) -> Array:
    raise Refused("it makes an array in a way that NumPy does not")


TABLE = {
    "numpy.dtype": DType,
    "numpy.ndarray": _array_itself,
    **{
        f"numpy.{core}.multiarray.{name}": make
        for core in ("core", "_core")
        for name, make in (("_reconstruct", reconstruct), ("scalar", scalar))
    },
}
