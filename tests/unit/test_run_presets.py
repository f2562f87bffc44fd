"""The presets of a run: which numbers they set, and that a longer one goes on from a shorter one."""

import pytest

from domain_guidance.adaptation import AdaptationSettings
from domain_guidance.adaptation.presets import ADAPTATION_PRESETS
from domain_guidance.runs.same_run import settings_identity
from domain_guidance.training import RunSettings
from domain_guidance.training.presets import TRAINING_PRESETS

LEARNING_RATE = 1e-4


def training(values):
    named = {"sample_every" if name == "preview_every" else name: value for name, value in values.items()}
    return RunSettings(learning_rate=LEARNING_RATE, **named)


def adaptation(values):
    named = {"sample_every" if name == "preview_every" else name: value for name, value in values.items()}
    return AdaptationSettings(**named)


@pytest.mark.parametrize("presets, settings", [(TRAINING_PRESETS, training), (ADAPTATION_PRESETS, adaptation)])
def test_a_longer_preset_goes_on_from_the_state_of_a_shorter_one(presets, settings):
    runs = [settings(values) for values in presets.values()]
    assert [run.steps for run in runs] == sorted({run.steps for run in runs})
    first, *others = [settings_identity(run, world=1) for run in runs]
    assert all(other == first for other in others)


def test_a_training_preset_sees_the_images_that_the_evidence_counts():
    """docs/evidence.md: 25 pictures were at their best after 100 or 150 steps of 32; 1,200 were trained for 600."""
    seen = {name: v["steps"] * v["batch_size"] * v["accumulation"] for name, v in TRAINING_PRESETS.items()}
    assert 100 * 32 <= seen["good"] <= 150 * 32 and seen["best"] >= 600 * 32


def test_a_preset_measures_and_draws_before_its_training_ends():
    for values in (*TRAINING_PRESETS.values(), *ADAPTATION_PRESETS.values()):
        assert all(values[name] < values["steps"] for name in ("evaluate_every", "preview_every") if name in values)
