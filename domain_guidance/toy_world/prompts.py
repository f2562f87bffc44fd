"""The toy's text encoder: a frozen table of 26 orthogonal vectors, four of which make a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..training.prompt_dropout import forgotten
from .model import PROMPT_WIDTH
from .scenes import GROUNDS, STROKES

SLOTS = (("begin",), tuple(str(digit) for digit in range(10)), tuple(STROKES), tuple(GROUNDS))
TOKENS = 4
TABLE_SEED = 8195


@dataclass(frozen=True)
class Prompts:
    """What N prompts ask for: digit, stroke and ground as indices `[N]`; -1 leaves a slot open."""

    digit: torch.Tensor
    stroke: torch.Tensor
    ground: torch.Tensor

    def __len__(self) -> int:
        return len(self.digit)


def make_table() -> torch.Tensor:
    """Make the prompt table `[26,32]`, all rows orthogonal with unit mean square.

    Rows are in the order of SLOTS, each open slot's row first. Orthogonal rows make every pair of words equally easy to
    tell apart. The table is stored beside the base's weights and read from there, because a decomposition's last bits
    differ between machines.
    """
    rows = 1 + sum(len(words) + 1 for words in SLOTS[1:])
    gaussian = torch.randn(PROMPT_WIDTH, rows, generator=torch.Generator().manual_seed(TABLE_SEED), dtype=torch.float64)
    return (torch.linalg.qr(gaussian).Q.T * PROMPT_WIDTH**0.5).float().contiguous()


def encode(prompts: Prompts, table: torch.Tensor) -> torch.Tensor:
    """Embed prompts as `[N,4,32]`: begin, digit, stroke, ground."""
    first_rows = (1, 12, 12 + 1 + len(STROKES))
    slots = [torch.zeros_like(prompts.digit)]
    for first, words in zip(first_rows, (prompts.digit, prompts.stroke, prompts.ground)):
        slots.append(first + 1 + words)
    return table[torch.stack(slots, dim=1)]


def encode_prompt(
    table: torch.Tensor, digit: int | None = None, stroke: str | None = None, ground: str | None = None
) -> torch.Tensor:
    """Embed one prompt as `[1,4,32]`; None leaves a slot open, and all three open is the empty prompt."""
    if digit is not None and digit not in range(10):
        raise ValueError(f"The digit is {digit!r}; the toy world has 0 to 9, or None for any.")
    indices = (-1 if digit is None else digit, _index(stroke, STROKES, "stroke"), _index(ground, GROUNDS, "ground"))
    return encode(Prompts(*(torch.tensor([index]) for index in indices)), table)


def forget_slots(
    prompts: Prompts, whole: float, single: tuple[float, float, float], generator: torch.Generator
) -> Prompts:
    """Open the whole prompt with probability `whole`, and digit, stroke and ground each with its own of `single`."""
    return Prompts(*forgotten((prompts.digit, prompts.stroke, prompts.ground), whole, single, generator))


def _index(word: str | None, words: dict, slot: str) -> int:
    if word is None:
        return -1
    if word not in words:
        raise ValueError(f"The {slot} is {word!r}; choose one of {', '.join(words)}, or None for any.")
    return list(words).index(word)
