"""A device's memory that has run out, in each of the forms in which PyTorch says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management


@contextmanager
def out_of_memory(sentence: Callable[[], str]) -> Iterator[None]:
    """Within the block it becomes a ValueError with this sentence, which is asked for only then.

    As after an error in the host's own words, every model leaves the device, so that the next run finds it empty.
    Other errors pass as they are.
    """
    try:
        yield
    except RuntimeError as error:  # PyTorch's own, or the driver's, which comes as any other error of a device
        comfy.model_management.raise_non_oom(error)
        comfy.model_management.unload_all_models()
        raise ValueError(sentence()) from error
