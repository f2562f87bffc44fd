"""What tells a training's prompt and noise levels apart, and which difference is only another device's rounding."""

import json

import pytest
import tiny_training as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_training_diffusers import trainable as diffusers_trainable

from domain_guidance.commands.side_network import side_trainable
from domain_guidance.diffusion.noise_schedule import NoiseSchedule, scaled_linear
from domain_guidance.domains.prompt import Prompt
from domain_guidance.domains.run_identity import levels_identity, prompt_identity
from domain_guidance.runs import RunFiles
from domain_guidance.runs.same_run import SAID_LATER, check_same_run


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoded(tokens=77, width=768, seed=0):
    """As an encoder puts it out: one dimension is far larger than the others, in every prompt."""
    values = drawn(1, tokens, width, seed=seed)
    values[:, 0] = drawn(width, seed=99)
    values[..., 0] += 2000
    return values


def refused(saved, now):
    try:
        check_same_run(json.loads(json.dumps(saved)), now, "run")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("tokens, width", [(77, 768), (256, 4096), (1, 64), (40, 3584)])
def test_another_prompt_is_told_and_another_precision_is_not(tokens, width):
    prompt = encoded(tokens, width)
    saved = prompt_identity(Prompt(prompt))
    other = encoded(tokens, width, seed=1)
    if tokens == 1:
        other = other + drawn(1, 1, width, seed=2)
    assert "the empty prompt changed" in refused(saved, prompt_identity(Prompt(other)))
    for dtype in (torch.float16, torch.bfloat16):
        assert not refused(saved, prompt_identity(Prompt(prompt.to(dtype)))), dtype
    assert "the empty prompt changed" in refused(saved, prompt_identity(Prompt(encoded(tokens + 1, width))))


@pytest.mark.parametrize(
    "beside",
    [{"pooled_output": drawn(1, 1280, seed=1)}, {"beside": {"mask": torch.ones(1, 77)}}],
    ids=["pooled", "mask"],
)
def test_all_that_a_prompt_says_counts(beside):
    plain, whole = prompt_identity(Prompt(encoded())), prompt_identity(Prompt(encoded(), **beside))
    assert "the empty prompt changed" in refused(plain, whole) and not refused(whole, whole)


@pytest.mark.parametrize("shift", [3.0, 3.01])
def test_every_shift_of_the_noise_levels_is_told(shift):
    times = torch.arange(1, 1001) / 1000

    def levels(shift, dtype=torch.float32):
        times_there = times.to(dtype)
        return levels_identity(NoiseSchedule(shift * times_there / (1 + (shift - 1) * times_there)))

    saved = levels(3.0)
    assert bool(refused(saved, levels(shift))) == (shift != 3.0)
    assert not refused(saved, levels(3.0, torch.float64))


@pytest.mark.parametrize("key", SAID_LATER)
def test_what_an_earlier_version_did_not_save_is_not_compared_and_all_else_is(key):
    value = [1.0, 2.0] if SAID_LATER[key] else "0123456789abcdef"
    saved, now = {"form": "adapter", "rank": 4}, {"form": "adapter", "rank": 4, key: value}
    assert not refused(saved, now)
    assert "rank was 4 and is 8" in refused(saved, {**now, "rank": 8})
    assert "new was None and is 1" in refused(saved, {**now, "new": 1})
    assert f"{key} " in refused(now, saved), "what a run has said it goes on with"
    assert refused({**now, "rates": [1.0]}, {**now, "rates": [1.0001]}), "other lists are compared to the last digit"


def test_a_run_with_other_noise_levels_is_refused_and_its_state_left_alone(tmp_path):
    tiny.run_tiny(tmp_path, steps=5)
    before = RunFiles(tmp_path, "run").state.read_bytes()
    with pytest.raises(ValueError, match="cannot be resumed: the noise levels of the model changed. Change"):
        tiny.run_tiny(tmp_path, steps=10, trainable=with_levels(3 * scaled_linear().sigmas))
    assert RunFiles(tmp_path, "run").state.read_bytes() == before


def with_levels(sigmas):
    made = tiny.TinyTrainable()
    made.schedule = NoiseSchedule(sigmas)
    return made


def test_a_run_of_an_earlier_version_goes_on_without_its_noise_levels_and_has_them_then(tmp_path):
    tiny.run_tiny(tmp_path, steps=5)
    state = RunFiles(tmp_path, "run").state
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
    record = json.loads(metadata["record"])
    del record["identity"]["the noise levels of the model"]
    save_file(load_file(state), state, {**metadata, "record": json.dumps(record)})
    tiny.run_tiny(tmp_path, steps=10)
    with pytest.raises(ValueError, match="the noise levels of the model changed"):
        tiny.run_tiny(tmp_path, steps=15, trainable=with_levels(3 * scaled_linear().sigmas))


@pytest.mark.parametrize("form", ["empty-prompt", "side-network"])
def test_a_diffusers_training_knows_its_empty_prompt(tmp_path, form):
    def identity(prompt):
        made = diffusers_trainable("empty-prompt")
        made.empty = Prompt(prompt)
        return (side_trainable(made, tiny.tiny_latents(tmp_path), 0) if form == "side-network" else made).identity

    saved = identity(drawn(1, 5, 16))
    assert refused(saved, identity(drawn(1, 5, 16, seed=1))).startswith(
        "There is a saved run 'run', which cannot be resumed: the empty prompt changed."
    )
    assert not refused(saved, identity(drawn(1, 5, 16).half())) and saved["form"] == form
