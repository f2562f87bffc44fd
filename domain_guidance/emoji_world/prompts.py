"""The text encoder: a table of learned vectors, four of which make a prompt: begin, thing, hand, ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor, nn

from ..training.prompt_dropout import forgotten
from .things import GROUNDS, STYLES, THINGS

PROMPT_WIDTH = 64
SLOTS = (tuple(THINGS), STYLES, tuple(GROUNDS))
TOKENS = 1 + len(SLOTS)
ROWS = 1 + sum(len(words) + 1 for words in SLOTS)  # the first row begins; each slot's first row leaves it open


@dataclass(frozen=True)
class Prompts:
    """What N prompts ask for: thing, hand and ground as indices `[N]`; -1 leaves a slot open."""

    thing: Tensor
    hand: Tensor
    ground: Tensor

    def __len__(self) -> int:
        return len(self.thing)


def make_table() -> nn.Parameter:
    """Make the prompt table `[ROWS, 64]`, which the base learns together with its UNet."""
    return nn.Parameter(torch.randn(ROWS, PROMPT_WIDTH))


def encode(prompts: Prompts, table: Tensor) -> Tensor:
    """Embed prompts as `[N, 4, 64]`: begin, thing, hand, ground."""
    rows, first = [torch.zeros_like(prompts.thing)], 1
    for words, asked in zip(SLOTS, (prompts.thing, prompts.hand, prompts.ground)):
        rows.append(first + 1 + asked)
        first += len(words) + 1
    return table[torch.stack(rows, dim=1)]


def encode_prompt(
    table: Tensor, thing: str | None = None, hand: str | None = None, ground: str | None = None
) -> Tensor:
    """Embed one prompt as `[1, 4, 64]`; None leaves a slot open, and all three open is the empty prompt."""
    words = (("thing", thing, THINGS), ("hand", hand, STYLES), ("ground", ground, GROUNDS))
    return encode(Prompts(*(torch.tensor([_index(*slot)]) for slot in words)), table)


def encode_each(table: Tensor, things: Sequence[str], hand: str | None, ground: str | None) -> Tensor:
    """Embed a prompt for each thing, `[N, 4, 64]`, all in one hand and on one ground."""
    return torch.cat([encode_prompt(table, thing, hand, ground) for thing in things])


def encode_on_grounds(table: Tensor, things: Sequence[str], hand: str | None) -> Tensor:
    """Embed a prompt for each thing, `[N, 4, 64]`, all in one hand, on one ground after the other."""
    asked = [encode_prompt(table, thing, hand, ground) for thing, ground in zip(things, cycle(GROUNDS))]
    return torch.cat(asked)


def together(parts: Sequence[Prompts]) -> Prompts:
    """The prompts of several parts, one after the other."""
    return Prompts(*(torch.cat([getattr(part, slot) for part in parts]) for slot in ("thing", "hand", "ground")))


def forget_slots(
    prompts: Prompts, whole: float, single: tuple[float, float, float], generator: torch.Generator
) -> Prompts:
    """Open the whole prompt with probability `whole`, and thing, hand and ground each with its own of `single`."""
    return Prompts(*forgotten((prompts.thing, prompts.hand, prompts.ground), whole, single, generator))


def _index(slot: str, word: str | None, words: Iterable[str]) -> int:
    if word is None:
        return -1
    if word not in words:
        raise ValueError(f"The {slot} is {word!r}; choose one of {', '.join(words)}, or None for any.")
    return list(words).index(word)
