"""A domain at no evaluation of its own: an adapter on the prompt's rows of the sampler's batch, and on no others.

    D = D_0(empty) + cfg [D_{0 + share dW}(c) - D_0(empty)]

Layers run once for all rows; beside them, what the adapter adds is multiplied by the share of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor

from .terms import GuidanceTerm, terms_of
from .weight_difference import WeightDifference

# Prompts that say what is not wanted, or nothing: there the base speaks alone.
UNASKED = ("negative", "empty_negative_prompt")


@dataclass(frozen=True)
class PromptTerm(GuidanceTerm):
    """An adapter that acts on the prompt's own evaluation; weight is its share. prompt and minus have no meaning."""


def evaluated_terms(model: ModelPatcher) -> list[GuidanceTerm]:
    """The terms of a MODEL that are added to the sampler's prediction, not part of it."""
    return [term for term in terms_of(model) if not isinstance(term, PromptTerm)]


class Rows:
    """The share of each row of the batch that a network works on at the moment, [B]."""

    shares: Tensor = torch.zeros(1)

    def beside(self, output: Tensor) -> Tensor | float:
        """The shares in a shape that multiplies a layer's output [R, ...], where R may be a multiple of B.

        Raises ValueError, one sentence, where a layer works for all rows at once and they differ.
        """
        if (self.shares == self.shares[0]).all():
            return float(self.shares[0])
        if len(output) % len(self.shares):
            raise ValueError(
                "This network has layers that work on several prompts at once, so an adapter cannot act on your "
                "prompt alone: set reference of Apply Domain Guidance to 'auto'."
            )
        each = self.shares.to(output).repeat_interleave(len(output) // len(self.shares))
        return each.view(-1, *[1] * (output.ndim - 1))


class RowsHook(BypassForwardHook):
    """The host's hook, with what the adapter adds multiplied by the share of each row."""

    def __init__(self, module, adapter, strength: float, rows: Rows):
        super().__init__(module, adapter, strength)
        self.rows = rows

    def _bypass_forward(self, x, *args, **kwargs):
        output = self.original_forward(x, *args, **kwargs)
        return output + self.rows.beside(output) * self.adapter.h(x, output)


@dataclass(frozen=True)
class PromptBranch:
    """A `PromptTerm` made ready for a run. share_at: by the noise level."""

    difference: WeightDifference
    share_at: Callable[[float], float]
    _rows: Rows = field(default_factory=Rows, repr=False, compare=False)

    @contextmanager
    def applied(self, model: BaseModel, level: float, asked: Sequence[bool], size: int) -> Iterator[None]:
        """Inside, `model` computes with the adapter on the rows that are asked.

        asked: of each prompt in a batch, in its order. size: rows of the batch.
        """
        share = self.share_at(level)
        each = torch.tensor([share if one else 0.0 for one in asked])
        self._rows.shares = each.repeat_interleave(size // len(asked))
        if not self._rows.shares.any():
            yield
            return
        with self.difference.applied(model, partial(RowsHook, rows=self._rows)):
            yield
