"""The toy's StyleGAN2: the game that trains it, and what the shipped one draws."""

import math

import pytest
import torch

from domain_guidance.evaluation.scores import kernel_distance
from domain_guidance.generators import Generator, build_generator, latents
from domain_guidance.runs import Settings, TrainingState, load_state, save_state, train
from domain_guidance.toy_world import checkpoints, gan, scenes, stages
from domain_guidance.toy_world.digits import load_digits

SURE = 0.9  # of a digit, above which the judge counts as having read it
COUNT = 500


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def real(count, seed=5):
    return scenes.paint_open_world(load_digits("held_out"), count, seeded(seed)).images


@pytest.fixture()
def game():
    torch.manual_seed(0)
    return gan.Game()


# --- the game --------------------------------------------------------------------------------------------------------


def drawn(game, count, generator):
    return game.generator(
        torch.randn(count, gan.GENERATOR_CONFIG.z_dim, generator=generator), noise="random", generator=generator
    )


@pytest.mark.parametrize("lazy", [1e9, 1.0], ids=["without R1", "with R1"])
def test_the_two_losses_in_one_sum_give_each_network_the_gradient_of_its_own(game, monkeypatch, lazy):
    monkeypatch.setattr(gan, "LAZY", lazy)
    shown = real(8)
    (gan.game_objective(game, lambda generator: shown)(seeded(1))).backward()
    found = {name: parameter.grad.clone() for name, parameter in game.named_parameters()}

    game.zero_grad()
    made = drawn(game, 8, seeded(1))
    (-torch.nn.functional.logsigmoid(game.discriminator(made)).mean()).backward()
    expected = {name: parameter.grad for name, parameter in game.named_parameters() if name.startswith("generator")}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)

    game.zero_grad()
    leaf = shown.clone().requires_grad_()
    logits = game.discriminator(leaf)
    slope = torch.autograd.grad(logits.sum(), leaf, create_graph=True)[0].flatten(1).norm(dim=1).square().mean()
    loss = (
        -torch.nn.functional.logsigmoid(logits).mean()
        - torch.nn.functional.logsigmoid(-game.discriminator(made.detach())).mean()
    )
    (loss + (gan.GAMMA / 2 * slope if lazy == 1 else 0)).backward()
    for name, parameter in game.discriminator.named_parameters():
        torch.testing.assert_close(found[f"discriminator.{name}"], parameter.grad, rtol=1e-4, atol=1e-5)


def test_lazy_r1_is_r1_on_average(game, monkeypatch):
    """In one step of LAZY, at LAZY times the weight: counted over 400 steps, without the networks' cost."""
    monkeypatch.setattr(gan, "_slope", lambda discriminator, shown: torch.tensor(1.0))
    monkeypatch.setattr(gan, "functional_call", lambda module, parameters, images: torch.zeros(len(images)))
    game.generator.forward = lambda z, noise, generator: torch.zeros(1)
    game.discriminator.forward = lambda images: torch.zeros(1)
    objective = gan.game_objective(game, lambda generator: torch.zeros(1))
    losses = torch.stack([objective(seeded(number)) for number in range(400)]) - 3 * math.log(2)
    assert losses.mean() == pytest.approx(gan.GAMMA / 2, rel=0.25)
    assert sorted(set(losses.round(decimals=4).tolist())) == pytest.approx([0.0, gan.LAZY * gan.GAMMA / 2], abs=1e-4)


def test_the_discriminator_sees_how_much_the_pictures_of_a_group_differ(game):
    shown = real(gan.GROUP)
    alone = game.discriminator(shown[:1].expand(gan.GROUP, -1, -1, -1))
    assert torch.allclose(alone, alone[:1].expand(gan.GROUP), atol=1e-5)
    assert not torch.allclose(game.discriminator(shown)[:1], alone[:1], atol=1e-3)


def test_a_killed_game_goes_on_as_if_it_never_stopped(tmp_path):
    settings = Settings(steps=4, learning_rate=2.5e-3, max_gradient_norm=math.inf, cosine=True, seed=3)

    def fresh():
        torch.manual_seed(0)
        game = gan.Game()
        return (
            game,
            TrainingState(game, settings, gan.adam),
            gan.game_objective(game, lambda generator: real(8, generator.initial_seed())),
        )

    whole, state, objective = fresh()
    for event in train(state, objective, settings):
        if event.step == 2 and state.step == 2:
            save_state(tmp_path / "run.state", state)
    again, state, objective = fresh()
    load_state(tmp_path / "run.state", state)
    assert [event.step for event in train(state, objective, settings)] == [3, 4, 4]
    for (name, one), other in zip(whole.state_dict().items(), again.state_dict().values()):
        assert torch.equal(one, other), name


def test_the_mean_style_is_where_styles_are_on_average(game):
    gan.set_mean_style(game.generator, 20_000)
    with torch.no_grad():
        styles = game.generator.mapping(latents(range(3000), 64))
    error = (styles.mean(0) - game.generator.mapping.w_avg).norm() / styles.std(0).norm()
    assert error < 0.06


# --- the shipped generator -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """Readings, and the judge's confidence in the digit, of the shipped generator, of a random one and of real
    pictures.
    """
    judge = checkpoints.load_judge()
    torch.manual_seed(0)
    z = latents(range(COUNT), gan.GENERATOR_CONFIG.z_dim)
    with torch.no_grad():
        pictures = {
            "shipped": build_generator(checkpoints.load_generator())(z),
            "random": Generator(gan.GENERATOR_CONFIG)(z),
            "real": real(COUNT),
        }
        return {
            name: (judge.read(images), judge(images.clamp(-1, 1))["digit"].softmax(1).amax(1))
            for name, images in pictures.items()
        }


def readable(judged, name):
    return (judged[name][1] > SURE).double().mean().item()


def test_the_shipped_generator_draws_readable_digits(judged):
    """The judge is sure of half of what random weights draw, too; but there it names a few digits only."""
    assert readable(judged, "shipped") > readable(judged, "random") + 0.1
    assert readable(judged, "shipped") > 0.6 * readable(judged, "real")
    kinds = {
        name: (reading.digit[sure > SURE].bincount(minlength=10) >= COUNT // 100).sum()
        for name, (reading, sure) in judged.items()
    }
    assert kinds["shipped"] == kinds["real"] == 10 > kinds["random"]


def test_the_shipped_generator_draws_in_every_colour_on_every_ground(judged):
    reading = judged["shipped"][0]
    assert reading.stroke.bincount(minlength=len(scenes.STROKES)).min() >= COUNT // 30
    assert reading.ground.bincount(minlength=len(scenes.GROUNDS) + 1)[: len(scenes.GROUNDS)].min() >= COUNT // 30


def test_the_shipped_generator_is_nearer_to_the_open_world_than_random_weights(judged):
    reference = checkpoints.load_judge().read(real(1000, seed=6)).features
    distances = {name: kernel_distance(judged[name][0].features, reference) for name in ("shipped", "random")}
    assert distances["shipped"] < 0.25 * distances["random"]


def test_the_shipped_file_is_small_and_says_how_it_was_made():
    path = checkpoints.FOLDER / checkpoints.GENERATOR
    assert path.stat().st_size < 600_000
    card = checkpoints.load_generator().card
    assert card.config == gan.GENERATOR_CONFIG
    assert (card.training["steps"], card.training["seed"]) == (stages.GAN.steps, stages.GAN.seed)
