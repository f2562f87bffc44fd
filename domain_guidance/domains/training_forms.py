"""The forms in which a domain is trained, and their default learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .card import DomainCard, Form

TrainingForm = Literal["adapter", "text-free", "empty-prompt", "side-network"]

ADAPTER: TrainingForm = "adapter"  # a LoRA on a frozen base
TEXT_FREE: TrainingForm = "text-free"  # the whole UNet, its cross-attention replaced by constants
EMPTY_PROMPT: TrainingForm = "empty-prompt"  # the whole network, which always reads the empty prompt
SIDE_NETWORK: TrainingForm = "side-network"  # a small network that corrects what the frozen base answers
TRAINING_FORMS = (ADAPTER, TEXT_FREE, EMPTY_PROMPT, SIDE_NETWORK)

# A whole network's is that of arXiv 2312.08195; the others' are our choice.
LEARNING_RATES: Mapping[TrainingForm, float] = {ADAPTER: 1e-4, TEXT_FREE: 1e-5, EMPTY_PROMPT: 1e-5, SIDE_NETWORK: 1e-3}


def card_form(form: str) -> Form:
    """What a domain card says of the network that a form of training makes."""
    forms: Mapping[str, Form] = {TEXT_FREE: "text-free", SIDE_NETWORK: "side-network"}
    return forms.get(form, "text-based")


def is_adapter(card: DomainCard) -> bool:
    """Whether the card is that of a trained adapter, and not of a whole network."""
    return card.training.get("form") == ADAPTER
