"""What a user reads when a graph is refused, and what the log says while one runs."""

import logging
from functools import partial

import pytest
import torch
from host_process import PromptError
from scenes import assert_one_sentence

# What PyTorch raises where a device's memory runs out: an error of its own, or the driver's, which is one of all kinds.
# Made anew for each use, for a raised error holds on to all that was at work.
DriverError = getattr(torch, "AcceleratorError", RuntimeError)  # older versions have no type of it
OUT_OF_MEMORY = [
    partial(torch.cuda.OutOfMemoryError, "CUDA out of memory"),
    partial(DriverError, "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`."),
]


def refusal(host, s, link):
    """The message with which the host refuses or fails the prompt."""
    with pytest.raises(PromptError) as caught:
        host.value(s.graph, link)
    details = caught.value.details
    assert "ValueError" in details["exception_type"] or "DomainFileError" in details["exception_type"], (
        caught.value.message
    )
    assert_one_sentence(caught.value.message)
    return caught.value.message


def warnings_of(host, s, link, caplog, seed):
    """The pack's warnings while the sampler at `link` runs with `seed`, which no other test has run."""
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        s.graph[link.id]["inputs"]["seed"] = seed
        host.samples(s.graph, link)
    return [record.getMessage() for record in caplog.records if "Domain Guidance" in record.getMessage()]


def hearing(told):
    """In place of a node's `line_at`: appends (slot, sentence) to `told`."""
    return lambda node_id: lambda line, slot="": told.append((slot, line))
