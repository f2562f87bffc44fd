"""ControlNets answer once per step where the sampler and the terms ask the same net at the same input.

The sampler's own ControlNets stay untouched: what they said is read off its batches as these reach the network, and the
terms' entries carry a stand-in with the host's `get_control`, which asks the net only for what nobody has asked before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .conditioning import same_inputs

Output = dict[str, list[Tensor | None]]


@dataclass(frozen=True)
class Answer:
    """What `control` said for one prompt of a batch.

    inputs: the prompt's encoded conditions. place: the one that an adapter sees.
    """

    control: object
    x: Tensor
    sigma: Tensor
    inputs: dict
    place: int
    output: Output


@dataclass
class ControlMemory:
    """The answers of one step. asked: the ControlNets that terms ask, by id; others are not worth keeping."""

    asked: frozenset[int] = frozenset()
    answers: list[Answer] = field(default_factory=list)

    def forget(self) -> None:
        self.answers = []

    def attach(self, entries: list[dict], tolerance: float) -> list[dict]:
        """`entries` with a stand-in in the place of each ControlNet. tolerance: as of `Evaluation`."""
        return [
            {**entry, "control": SharedControl(self, entry, tolerance)} if entry.get("control") is not None else entry
            for entry in entries
        ]

    def keep(self, prompts: dict[str, list[dict]], x: Tensor, sigma: Tensor, output: Output, options: dict) -> None:
        """Keeps what a batch of the sampler's own `prompts` was given, prompt by prompt.

        options: the batch's transformer_options.
        """
        entries = _by_uuid(prompts)
        size = len(x) // len(options["uuids"])
        for number, (uuid, place) in enumerate(zip(options["uuids"], options["cond_or_uncond"])):
            entry = entries.get(uuid)
            if entry is not None and id(entry.get("control")) in self.asked:
                part = slice(number * size, (number + 1) * size)
                said = _part(output, part, len(x))
                self.answers.append(
                    Answer(entry["control"], x[part], sigma[part], entry["model_conds"], min(place, 1), said)
                )

    def find(self, entry: dict, x: Tensor, sigma: Tensor, place: int, tolerance: float) -> Output | None:
        for answer in self.answers:
            if (
                answer.control is entry["control"]
                and answer.place == place
                and _equal(answer.x, x)
                and _equal(answer.sigma, sigma)
                and same_inputs(answer.inputs, entry["model_conds"], tolerance)
            ):
                return answer.output
        return None


class SharedControl:
    """Stands for the ControlNet of one entry, in the host's sampling function."""

    def __init__(self, memory: ControlMemory, entry: dict, tolerance: float):
        self.memory, self.entry, self.tolerance = memory, entry, tolerance

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: dict, batched_number: int, transformer_options: dict
    ) -> Output | None:
        place = min(transformer_options["cond_or_uncond"][0], 1)
        known = self.memory.find(self.entry, x_noisy, t, place, self.tolerance)
        if known is not None:
            return _fresh(known)
        control = self.entry["control"]
        output = control.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if output is not None:
            self.memory.answers.append(Answer(control, x_noisy, t, self.entry["model_conds"], place, _fresh(output)))
        return output

    def get_instance_for_device(self, device: torch.device) -> object:
        return self.entry["control"].get_instance_for_device(device)


def _by_uuid(prompts: dict[str, list[dict]]) -> dict:
    """The sampler's entries by the host's uuid.

    Those that share one, as area copies do, cannot be told apart and are left out.
    """
    entries = [entry for prompt in prompts.values() for entry in prompt]
    count = Counter(entry["uuid"] for entry in entries)
    return {entry["uuid"]: entry for entry in entries if count[entry["uuid"]] == 1}


def _part(output: Output, part: slice, size: int) -> Output:
    """One prompt's share of a batch of `size`; what a net gave once for all is everyone's."""
    return {name: [v if v is None or len(v) != size else v[part] for v in values] for name, values in output.items()}


def _fresh(output: Output) -> Output:
    """Networks take an answer's lists apart as they use it."""
    return {name: list(values) for name, values in output.items()}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
