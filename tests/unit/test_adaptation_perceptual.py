"""The perceptual term: a function that is handed in, and where one is looked for."""

import sys
import types
from contextlib import closing

import pytest
import tiny_adaptation as tiny
import torch
from safetensors.torch import load_file

from domain_guidance.adaptation import AdaptedPair, find_perceptual
from domain_guidance.generators import build_generator
from domain_guidance.runs import RunFiles, Step
from domain_guidance.runs.state import read_record


def distance(images, others):
    return (images - others).square().flatten(1).mean(1) + images.flatten(1).mean(1)


def gradient_after_one_step(folder, **options):
    tiny.run_tiny(folder, steps=1, **options)
    state = load_file(RunFiles(folder, "run").state)
    return {name.removeprefix("optimizer.exp_avg."): tensor for name, tensor in state.items() if "exp_avg." in name}


def test_the_term_adds_two_thousand_times_its_weight_of_the_mean_distance_unclipped(tmp_path):
    plain = gradient_after_one_step(tmp_path / "plain", batch_size=2)
    with_term = gradient_after_one_step(tmp_path / "term", batch_size=2, perceptual=distance, perceptual_weight=0.3)
    network = build_generator(tiny.tiny_file())
    network.synthesis.requires_grad_(True)
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    picture = network(z)
    (2000 * 0.3 * distance(picture, picture.detach()).mean()).backward()
    for name in plain:
        expected = network.get_parameter(name).grad
        torch.testing.assert_close(
            with_term[name] - plain[name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1)
        )


def test_a_weight_of_zero_asks_no_distance_and_draws_no_source(tmp_path):
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    pair.source.register_forward_hook(lambda *_: pytest.fail("the source was drawn"))
    pair.source.synthesis.register_forward_hook(lambda *_: pytest.fail("the source was drawn"))
    tiny.run_tiny(tmp_path, pair=pair, perceptual=lambda *_: pytest.fail("a distance was asked for"))


def test_a_weight_without_a_distance_is_refused_before_anything_else(tmp_path):
    with pytest.raises(
        ValueError, match="perceptual is 0.3, but no perceptual distance was given: give one, or set perceptual to 0"
    ):
        tiny.run_tiny(tmp_path, perceptual_weight=0.3)
    assert not list(tmp_path.iterdir())


def test_the_weight_is_part_of_what_a_run_is(tmp_path):
    with closing(tiny.started(tmp_path, perceptual=distance, perceptual_weight=0.3)) as events:
        next(event for event in events if isinstance(event, Step))
    assert read_record(RunFiles(tmp_path, "run").state)["identity"]["perceptual"] == 0.3


def test_where_lpips_or_its_weights_are_missing_it_says_so_and_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download was tried"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("domain_guidance.adaptation.perceptual.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match="needs the package lpips, which is not installed: install it, or set perceptual to 0"
    ):
        find_perceptual("cpu")
    monkeypatch.setattr("domain_guidance.adaptation.perceptual.find_spec", lambda name: object())
    with pytest.raises(ValueError, match="needs VGG's weights at '.*vgg16-397923af.pth', where there are none"):
        find_perceptual("cpu")


def test_where_both_are_at_hand_the_packages_function_is_used_frozen(tmp_path, monkeypatch):
    class Lpips(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg" and not verbose
            self.layer = torch.nn.Linear(1, 1)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Lpips))
    monkeypatch.setattr("domain_guidance.adaptation.perceptual.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"")
    found = find_perceptual("cpu")
    assert (
        isinstance(found, Lpips)
        and not found.training
        and not any(parameter.requires_grad for parameter in found.parameters())
    )
