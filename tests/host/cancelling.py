"""A user who presses Cancel at a certain evaluation."""

from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def cancel_at(number):
    """Cancels when the `number`-th UNet evaluation begins; the list of all evaluations begun."""
    import comfy.model_base
    import comfy.model_management

    begun, original = [], comfy.model_base.BaseModel._apply_model

    def evaluated(self, *args, **kwargs):
        begun.append(len(begun) + 1)
        if len(begun) == number:
            comfy.model_management.interrupt_current_processing()
        return original(self, *args, **kwargs)

    with patch.object(comfy.model_base.BaseModel, "_apply_model", evaluated):
        yield begun
