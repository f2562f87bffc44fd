"""A side network in the one training engine: what it learns, and that a run survives what other forms' runs survive."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import tiny_side
import tiny_training as tiny
import torch
from safetensors.torch import load_file
from test_training_processes import curves, launched, needs_accelerate
from test_training_run import losses, same_tensors

from domain_guidance.diffusion.parameterization import add_noise
from domain_guidance.runs import Evaluated, RunFiles, Sample, Saved, Step
from domain_guidance.side_networks import SideTrainable, corrected, make_network, read_side_file, shape_for
from domain_guidance.training import train_domain


def test_an_untrained_side_network_puts_out_what_the_base_does():
    made, base = tiny_side.side_trainable(), tiny.TinyTrainable()
    noisy, timestep = torch.randn(3, 3, 16, 16), torch.tensor([20, 500, 990])
    conditioning = made.conditioning(3, (16, 16))
    expected = base.predict(noisy, timestep, conditioning)
    torch.testing.assert_close(made.predict(noisy, timestep, conditioning), expected, rtol=1e-4, atol=1e-4)


def test_training_lowers_the_held_out_loss_and_leaves_the_base_as_it_was(tmp_path):
    made = tiny_side.side_trainable()
    before = {name: value.clone() for name, value in made.module.base.state_dict().items()}
    events = tiny_side.run(tmp_path, made, steps=40)
    measured = [event.held_out for event in events if isinstance(event, Evaluated)]
    assert measured[-1] < 0.9 * measured[0]
    assert all(torch.equal(value, before[name]) for name, value in made.module.base.state_dict().items())
    assert all(parameter.grad is None for parameter in made.module.base.parameters())


def test_no_graph_reaches_the_base():
    """A base that autograd cannot differentiate, as a quantised one is, trains as any other."""
    made = tiny_side.side_trainable()

    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            raise AssertionError("a gradient was asked of the base")

    plain = made._base.predict
    made._base.predict = lambda noisy, *rest: Opaque.apply(plain(noisy, *rest))
    output = made.predict(torch.randn(2, 3, 16, 16), torch.tensor([20, 900]), made.conditioning(2, (16, 16)))
    output.square().mean().backward()
    trained = [parameter for parameter in made.module.parameters() if parameter.requires_grad]
    assert trained and all(parameter.grad is not None for parameter in trained)


def test_the_written_network_is_the_average_and_gives_the_held_out_loss_that_its_card_tells(tmp_path):
    made = tiny_side.side_trainable()
    tiny_side.run(tmp_path, made)
    file = read_side_file(RunFiles(tmp_path, "run").result)
    assert file.card.training["trained_steps"] == 20 and file.card.training["held_out_loss"] > 0
    state = made.network.state_dict()  # the averages, after the end
    assert all(torch.equal(value, state[name].half().float()) for name, value in file.network.state_dict().items())


def test_the_loss_of_a_step_is_weighted_as_the_form_says_and_min_snr_takes_its_place(tmp_path):
    """One step on one batch: the same draw, three weights."""
    found = {}
    for name, changed in (("own", {}), ("min_snr", {"min_snr": 0.05})):
        tiny_side.run(tmp_path / name, steps=1, evaluate_every=0, warmup=0, **changed)
        (found[name],) = losses(tmp_path / name)
    plain = tiny_side.side_trainable()
    plain.loss_weight = None
    tiny_side.run(tmp_path / "plain", plain, steps=1, evaluate_every=0, warmup=0)
    (found["plain"],) = losses(tmp_path / "plain")
    assert found["own"] > found["plain"] > found["min_snr"]


def run_elsewhere(folder, kill_at=0):
    command = [sys.executable, Path(tiny_side.__file__), folder, "20", str(kill_at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (-9 if kill_at else 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no SIGKILL here")
def test_twenty_steps_equal_thirteen_a_kill_and_the_rest_bit_for_bit(tmp_path):
    run_elsewhere(tmp_path / "whole")
    run_elsewhere(tmp_path / "killed", kill_at=13)
    saved = load_file(RunFiles(tmp_path / "killed", "run").state)
    assert int(saved["optimizer.step.network.first.weight"]) == 10, "killed before the save of its own step"
    run_elsewhere(tmp_path / "killed")
    whole, killed = (RunFiles(tmp_path / kind, "run") for kind in ("whole", "killed"))
    for name in ("state", "result", "best"):
        assert same_tensors(getattr(whole, name), getattr(killed, name)), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_the_state_holds_the_small_network_alone(tmp_path):
    tiny_side.run(tmp_path, steps=2)
    names = load_file(RunFiles(tmp_path, "run").state)
    assert names and all(".network." in name for name in names)


@pytest.mark.parametrize(
    "changed, event",
    [
        ({}, Step(7, 0, 0)),
        ({"precision": "bf16"}, Saved(Path(), 10)),
        ({"accumulation": 2, "cosine": True}, Sample(10)),
    ],
)
def test_a_run_that_was_left_after_any_event_ends_as_the_uninterrupted_one(tmp_path, changed, event):
    tiny_side.run(tmp_path / "whole", sample_every=5, **changed)
    with closing(tiny_side.started(tmp_path / "left", sample_every=5, **changed)) as events:
        for heard in events:
            if type(heard) is type(event) and heard.step == event.step:
                break
    tiny_side.run(tmp_path / "left", sample_every=5, **changed)
    assert same_tensors(RunFiles(tmp_path / "whole", "run").state, RunFiles(tmp_path / "left", "run").state)
    assert losses(tmp_path / "whole") == losses(tmp_path / "left")


def test_after_a_cancel_no_further_step_is_made_and_the_last_one_is_on_disk(tmp_path):
    made = []
    with pytest.raises(KeyboardInterrupt), closing(tiny_side.started(tmp_path, checkpoint_every=0)) as events:
        for event in events:
            made += [event] if isinstance(event, Step) else []
            if len(made) == 7:
                raise KeyboardInterrupt  # a BaseException, as ComfyUI's interrupt
    saved = load_file(RunFiles(tmp_path, "run").state)
    assert int(saved["optimizer.step.network.first.weight"]) == 7


@needs_accelerate
def test_two_processes_train_as_one(tmp_path):
    tiny.tiny_latents(tmp_path / "two")
    launched("tiny_side.py", tmp_path / "two", "two")
    tiny_side.run(tmp_path / "one")
    assert curves(tmp_path / "two") == pytest.approx(curves(tmp_path / "one"), rel=1e-4)
    two, one = (read_side_file(RunFiles(tmp_path / kind, "run").result).network for kind in ("two", "one"))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-2, atol=1e-3)


class Ignorant(tiny.TinyTrainable):
    """A base whose denoised prediction is 0 whatever it sees."""

    def predict(self, noisy, timestep, conditioning):
        sigma = self.schedule.sigma(timestep).view(-1, 1, 1, 1)
        return noisy * (sigma**2 + 1).sqrt() / sigma


def test_the_correction_that_it_learns_is_the_domains_own_denoiser(tmp_path):
    """Where a domain is one picture, its denoiser is that picture at every noise level."""
    made = SideTrainable(Ignorant(), make_network(shape_for(3, 16, 16), 0), {"form": "side-network"}, tiny_side.save)
    flat = tiny.BatchImages(torch.full((8, 16, 16, 3), 0.8))
    settings = tiny.tiny_settings(steps=100, learning_rate=5e-3, mirror=0.0, evaluate_every=0, checkpoint_every=0)
    latents = tiny.tiny_latents(tmp_path, source=flat)
    list(train_domain(made, latents, settings, RunFiles(tmp_path, "run")))
    sigma, clean = torch.tensor([1.0, 3.0, 10.0]), torch.full((3, 3, 16, 16), 0.6)
    x = add_noise(clean, torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)), sigma, "epsilon")
    with torch.no_grad():
        domain = corrected(made.network, x, sigma, torch.zeros_like(x), "epsilon")
    assert (domain - clean).square().mean() < 0.05 * clean.square().mean()
