"""The adaptive choice of layers: what one step of SGD on the styles moves most, chosen once for a run."""

from contextlib import closing

import pytest
import tiny_adaptation as tiny
import torch

from domain_guidance.adaptation import AdaptedPair, choose_styles, style_movement, trainable_styles
from domain_guidance.distillation import distill
from domain_guidance.generators import build_generator, read_generator_file, standard_config
from domain_guidance.runs import OneProcess, RunFiles, Step


def fresh():
    return AdaptedPair(tiny.tiny_file(), "cpu")


def result_of(folder):
    return read_generator_file(RunFiles(folder, "run").result)


def test_the_movement_is_that_of_one_step_of_sgd_on_every_pictures_styles():
    critic, settings = tiny.GaussianCritic(), tiny.tiny_settings(layers=2, seed=3)
    network, random = build_generator(tiny.tiny_file()), torch.Generator().manual_seed(3 * 0x9E3779B1 % 2**32)
    moved = []
    for _ in range(8):
        ws = torch.nn.Parameter(network.styles(torch.randn(1, 5, generator=random)).clone())
        before, optimizer = ws.detach().clone(), torch.optim.SGD([ws], lr=0.01)
        loss, _ = distill(
            network.synthesis(ws),
            None,
            critic,
            settings.distillation,
            random,
        )
        loss.backward()
        optimizer.step()
        moved.append((ws.detach() - before).abs().mean(-1)[0])
    expected = torch.stack(moved).mean(0)
    torch.testing.assert_close(style_movement(fresh(), critic, settings), expected, rtol=1e-4, atol=1e-7)
    order = [style for style in expected.argsort(descending=True).tolist() if style in (1, 2, 3, 4)]
    for count in (1, 2, 3):
        assert choose_styles(fresh(), critic, tiny.tiny_settings(layers=count, seed=3), OneProcess()) == sorted(
            order[:count]
        )


def test_regularisers_have_no_say_in_the_choice_and_the_batch_none_either():
    critic = tiny.GaussianCritic()
    plain = style_movement(fresh(), critic, tiny.tiny_settings(layers=1))
    regularised = style_movement(
        fresh(), critic, tiny.tiny_settings(layers=1, directional=1.0, reconstruction=1.0, batch_size=4)
    )
    assert torch.equal(plain, regularised)
    assert set(critic.encoded) == {1} and len(critic.encoded) == 16


def test_the_layers_of_the_chosen_styles_move_and_no_other(tmp_path):
    file = tiny.tiny_file()
    tiny.run_tiny(tmp_path, pair=AdaptedPair(file, "cpu"), layers=2)
    result = result_of(tmp_path)
    layers = {1: "b8.conv0", 2: "b8.conv1", 3: "b16.conv0", 4: "b16.conv1"}
    assert len(result.card.training["styles"]) == 2
    wanted = {
        f"synthesis.{layers[style]}.{part}"
        for style in result.card.training["styles"]
        for part in ("weight", "affine.weight", "noise_strength")
    }
    assert {name for name, tensor in result.weights.items() if not torch.equal(tensor, file.weights[name])} == wanted


def test_a_resumed_run_keeps_its_choice_and_asks_nobody_again(tmp_path, monkeypatch):
    with closing(tiny.started(tmp_path, layers=1)) as events:
        prepared = next(events)
        next(event for event in events if isinstance(event, Step) and event.step == 2)
    monkeypatch.setattr("domain_guidance.adaptation.adapt.choose_styles", lambda *_: pytest.fail("chosen again"))
    again = tiny.run_tiny(tmp_path, layers=1)[0]
    (style,) = result_of(tmp_path).card.training["styles"]
    assert all(f"The layers of styles {style} are trained." in message for message in (prepared.message, again.message))


@pytest.mark.parametrize("layers", [0, 2])
def test_a_pair_that_is_used_again_begins_from_its_source(tmp_path, layers):
    pair = fresh()
    for name in ("first", "second"):
        tiny.run_tiny(tmp_path / name, pair=pair, layers=layers)
    first, second = (result_of(tmp_path / name) for name in ("first", "second"))
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_more_styles_than_drive_something_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="layers is 5, but only 4 of this generator"):
        tiny.run_tiny(tmp_path, layers=5)


def test_only_styles_that_drive_a_trained_layer_can_be_chosen():
    assert trainable_styles(tiny.CONFIG) == [1, 2, 3, 4]
    assert trainable_styles(standard_config(1024)) == list(range(1, 17))
