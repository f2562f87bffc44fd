"""A device with no room for weights, as the host's loader sees it; the CPU, on which these tests run, always has
room.
"""

from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def small_card():
    """Every model that the host loads is left off the device, as it does with what does not fit; the list of those
    models.
    """
    import comfy.model_management

    LoadedModel = comfy.model_management.LoadedModel
    original, left_off = LoadedModel.model_load, []

    def load(self, lowvram_model_memory=0, **options):
        original(self, 0.1, **options)
        assert self.model.model.model_lowvram
        left_off.append(self.model.model)

    comfy.model_management.unload_all_models()
    with patch.object(LoadedModel, "model_load", load):
        yield left_off
