"""Tensors that are still bytes of a file: what may be asked of them is checked before a byte is copied."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..errors import Refused

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_AXES = 8


@dataclass
class Storage:
    """`count` numbers; their bytes may follow later in the file than what refers to them."""

    dtype: torch.dtype
    count: int
    data: memoryview | None = None

    def fill(self, data: memoryview) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise Refused(
                f"a storage of it has {len(data)} bytes where {self.count} numbers of {self.dtype.itemsize} bytes "
                "are announced"
            )
        self.data = data


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage that lies inside of it and has no more elements than it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self):
        if not is_axes(self.shape) or not is_axes(self.stride):
            raise Refused("a tensor of it has a shape or stride that no tensor has")
        count = prod(self.shape)
        fits = len(self.shape) == len(self.stride) and is_count(self.offset) and count <= self.storage.count
        if not fits or (count and self.offset + self.reach > self.storage.count):
            raise Refused(
                f"a tensor of it, {list(self.shape)}, reaches beyond the {self.storage.count} numbers that are "
                "stored for it"
            )

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize

    @property
    def reach(self) -> int:
        """Numbers of the storage from the first to the last of a tensor that is not empty."""
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride))

    def read(self) -> Tensor:
        """A copy, contiguous."""
        if self.storage.data is None:
            raise Refused("a tensor of it has no data in the file")
        if not self.nbytes:
            raise Refused("a tensor of it is empty, which no generator's is")
        width = self.storage.dtype.itemsize
        part = bytearray(self.storage.data[self.offset * width : (self.offset + self.reach) * width])
        return torch.frombuffer(part, dtype=self.storage.dtype).as_strided(self.shape, self.stride).contiguous()


def rebuild_tensor(arguments: tuple) -> StoredTensor:
    """For torch._utils._rebuild_tensor_v2, of (storage, offset, shape, stride, requires_grad, hooks)."""
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], Storage):
        raise Refused("it builds a tensor from something that is no storage")
    return StoredTensor(*arguments[:4])


def rebuild_parameter(arguments: tuple) -> StoredTensor:
    """For torch._utils._rebuild_parameter, of (tensor, requires_grad, hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[0], StoredTensor):
        raise Refused("it builds a parameter from something that is no tensor")
    return arguments[0]


def contiguous(
    dtype: torch.dtype, shape: tuple[int, ...], data: memoryview, *, first_axis_fastest: bool = False
) -> StoredTensor:
    """Bytes as a tensor, in C or Fortran order."""
    if not is_axes(shape):
        raise Refused("it has an array without a shape")
    storage = Storage(dtype, len(data) // dtype.itemsize)
    storage.fill(data)
    axes = range(len(shape)) if first_axis_fastest else reversed(range(len(shape)))
    stride, step = [0] * len(shape), 1
    for axis in axes:
        stride[axis], step = step, step * shape[axis]
    tensor = StoredTensor(storage, 0, shape, tuple(stride))
    if tensor.nbytes != len(data):
        raise Refused(f"an array of it, {list(shape)}, has {len(data)} bytes")
    return tensor


def is_axes(value: Any) -> bool:
    """Whether this could be a tensor's shape or its stride."""
    return isinstance(value, tuple) and len(value) <= MAX_AXES and all(map(is_count, value))


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40
