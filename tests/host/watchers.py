"""Counters on the host's own methods, for one `with` block."""

from collections import Counter
from contextlib import contextmanager
from unittest.mock import patch


class Evaluations(list):
    """(model, batch size) of every UNet evaluation."""

    def elements(self, batch=1, steps=1):
        """Evaluations of one latent per step, however they were batched."""
        return sum(size for _, size in self) / (batch * steps)

    def models(self):
        return {id(model) for model, _ in self}


@contextmanager
def watch_evaluations():
    import comfy.model_base

    seen = Evaluations()
    original = comfy.model_base.BaseModel._apply_model

    def watched(self, x, *args, **kwargs):
        seen.append((self, x.shape[0]))
        return original(self, x, *args, **kwargs)

    with patch.object(comfy.model_base.BaseModel, "_apply_model", watched):
        yield seen


@contextmanager
def watch_loads():
    """How often the weights of each model were put on the device."""
    import comfy.model_patcher

    seen = Counter()
    original = comfy.model_patcher.ModelPatcher.load

    def watched(self, *args, **kwargs):
        seen[id(self.model)] += 1
        return original(self, *args, **kwargs)

    with patch.object(comfy.model_patcher.ModelPatcher, "load", watched):
        yield seen
