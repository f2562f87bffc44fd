"""The device and the processes that a command runs in."""

from __future__ import annotations

import atexit
import os

import torch

from ..runs import OneProcess, Process
from ..runs.process import Precision


def start_process(precision: Precision) -> tuple[Process, torch.device]:
    """This process of the run, and its device. Under `accelerate launch` or torchrun it is one of several."""
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return OneProcess(precision, device.type), device
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ValueError(
            "Several processes need the package accelerate, which is not installed: install it, or start one process."
        ) from error
    from ..runs.accelerated import AcceleratedProcess

    # Told that there is no GPU, it makes one group of the CPU processes; left to find out, each of them would train
    # alone.
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision={"fp32": "no"}.get(precision, precision)
    )
    process = AcceleratedProcess(accelerator)
    atexit.register(process.end)
    return process, accelerator.device
