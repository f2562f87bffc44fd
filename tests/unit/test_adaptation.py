"""Adapting a generator: a hand-written loop as the oracle, exact resuming, and what must not move."""

import copy
import json
import math
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny_adaptation as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from domain_guidance.adaptation import AdaptationSettings, AdaptedPair, comparison_picture
from domain_guidance.diffusion.noise_schedule import NoiseSchedule
from domain_guidance.distillation import NoiseRange
from domain_guidance.generators import GeneratorFileError, build_generator, latents, read_generator_file
from domain_guidance.memory.activations import activation_bytes
from domain_guidance.runs import Finished, Prepared, RunFileError, RunFiles, Sample, Saved, Share, Step
from domain_guidance.runs.run_log import read_log


def events_of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def state_of(folder):
    return load_file(RunFiles(folder, "run").state)


def result_of(folder):
    return read_generator_file(RunFiles(folder, "run").result)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(folder):
    return [line["loss"] for line in read_log(RunFiles(folder, "run").log) if line["event"] == "step"]


# --- the loop --------------------------------------------------------------------------------------------------------


def naive_loop(file, critic, steps, batch=1, rate=2e-3, seed=0, directional=0.0, reconstruction=0.0, trained=None):
    """METHOD's formulas picture by picture in noise space, and Adam without momentum written out; for pictures of 16
    px.
    """
    source, adapted = build_generator(file), copy.deepcopy(build_generator(file))
    trained = trained or [
        f"synthesis.b{r}.{layer}.{part}"
        for r, layer in ((8, "conv0"), (8, "conv1"), (16, "conv0"), (16, "conv1"))
        for part in ("weight", "affine.weight", "noise_strength")
    ]
    parameters = [adapted.get_parameter(name).requires_grad_() for name in trained]
    squares = [torch.zeros_like(p) for p in parameters]

    def unit(x):
        return x / x.square().mean().sqrt()

    for step in range(steps):
        random = torch.Generator().manual_seed((seed * 0x9E3779B1 + step) % 2**32)
        z = torch.randn(batch, 5, generator=random)
        times = torch.randint(10, 501, (batch,), generator=random)
        noises = torch.randn(batch, 3, 8, 8, generator=random)
        totals = [torch.zeros_like(p) for p in parameters]
        for i in range(batch):
            w = source.mapping(z[i : i + 1])
            picture = adapted.synthesis(w)
            x = picture.detach().clamp(-1, 1).requires_grad_()
            latent, noise, sigma = critic.encode(x), noises[i : i + 1], critic.schedule.sigmas[times[i]]
            alpha_bar = 1 / (1 + sigma**2)

            def guess(clean):
                with torch.no_grad():
                    noisy = clean + sigma * noise
                    return (noisy - critic.denoise(noisy, sigma[None])) / sigma

            guessed = guess(latent.detach())
            pulled = torch.autograd.grad(
                latent, x, ((1 - alpha_bar) * (guessed - noise)).clamp(-1, 1), retain_graph=True
            )[0]
            limit = pulled.abs().flatten().sort().values[round(0.95 * pulled.numel()) - 1]
            pulled = pulled.clamp(-limit, limit)
            before = critic.encode(source.synthesis(w).clamp(-1, 1))
            if directional:
                difference = (directional * (1 - alpha_bar) * (guessed - guess(before))).clamp(-1, 1)
                pulled = pulled + torch.autograd.grad(latent, x, difference, retain_graph=True)[0]
            if reconstruction:
                clean = latent.detach() + sigma * noise - sigma * guessed
                wanted = (reconstruction * (1 - alpha_bar) * (unit(guessed) + unit(clean - before))).clamp(-1, 1)
                pulled = pulled + torch.autograd.grad(latent, x, wanted)[0]
            inside = (picture.abs() <= 1).float()
            for total, gradient in zip(totals, torch.autograd.grad(picture, parameters, pulled * inside)):
                total += gradient / batch
        with torch.no_grad():
            for p, square, gradient in zip(parameters, squares, totals):
                square.mul_(0.992).add_(0.008 * gradient**2)
                p -= rate * gradient / ((square / (1 - 0.992 ** (step + 1))).sqrt() + 1e-8)
    return {name: tensor.detach() for name, tensor in adapted.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 3},
        {"directional": 1.0},
        {"reconstruction": 0.5, "seed": 4},
        {"batch": 2, "directional": 0.5, "reconstruction": 1.0},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_the_loop_is_the_hand_written_one(tmp_path, options):
    file = tiny.tiny_file()
    changed = {"batch_size" if name == "batch" else name: value for name, value in options.items()}
    tiny.run_tiny(tmp_path, pair=AdaptedPair(file, "cpu"), steps=6, **changed)
    ours, theirs = result_of(tmp_path).weights, naive_loop(file, tiny.GaussianCritic(), 6, **options)
    assert ours.keys() == theirs.keys()
    moved = max(float((theirs[name] - file.weights[name]).abs().max()) for name in theirs)
    assert moved > 5e-3
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6, msg=name)


def test_pictures_go_to_where_the_critic_wants_them_and_the_loss_falls(tmp_path):
    pair, critic = AdaptedPair(tiny.tiny_file(), "cpu"), tiny.GaussianCritic()
    events = tiny.run_tiny(tmp_path, pair=pair, critic=critic, steps=120, learning_rate=0.01, batch_size=4)
    source, adapted = (
        (row.clamp(-1, 1).mean((2, 3)) - critic.target.flatten()).norm(dim=1) for row in pair.compare(range(32), 1.0)
    )
    assert adapted.mean() < 0.5 * source.mean()
    curve = [event.loss for event in events_of(Step, events)]
    assert sum(curve[-20:]) < 0.7 * sum(curve[:20])


def test_a_step_tells_how_far_the_critics_picture_is_from_the_generators(tmp_path):
    seen = []

    class Listening(tiny.GaussianCritic):
        def denoise(self, noisy, sigma):
            seen.append(super().denoise(noisy, sigma))
            return seen[-1]

        def encode(self, pixels):
            seen.append(super().encode(pixels))
            return seen[-1]

    events = tiny.run_tiny(tmp_path, critic=Listening(), steps=3, batch_size=2)
    pictures, answers = seen[-6::2], seen[-5::2]
    expected = [float((z.detach() - d).square().flatten(1).mean(1).sqrt().mean()) for z, d in zip(pictures, answers)]
    assert [event.loss for event in events_of(Step, events)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changed, encoded, asked",
    [
        ({}, [3], [3]),
        ({"directional": 1.0}, [3, 3], [6]),
        ({"reconstruction": 1.0}, [3, 3], [3]),
        ({"directional": 1.0, "reconstruction": 1.0}, [3, 3], [6]),
    ],
)
def test_an_iteration_asks_the_critic_once_and_encodes_once_or_with_a_regulariser_twice(
    tmp_path, changed, encoded, asked
):
    critic = tiny.GaussianCritic()
    with closing(tiny.started(tmp_path, critic=critic, batch_size=3, steps=5, **changed)) as events:
        for event in events:
            if isinstance(event, Step):
                assert (critic.encoded, critic.asked) == (encoded, asked)
            critic.encoded.clear(), critic.asked.clear()


def test_the_gradient_of_a_batch_does_not_grow_with_it(tmp_path):
    """Copies of one picture, judged without noise, have one picture's gradient; Adam without momentum keeps it in its
    state.
    """

    class OneLevel(tiny.GaussianCritic):
        schedule = NoiseSchedule(torch.full((1000,), 0.8))

        def denoise(self, noisy, sigma):
            return torch.zeros_like(noisy)

    class Copies(AdaptedPair):
        def draw_inputs(self, count, generator, truncation=1.0, *, share=Share()):
            return tuple(
                drawn.expand(count, *drawn.shape[1:])
                for drawn in super().draw_inputs(1, torch.Generator().manual_seed(3), truncation)
            )

    for count in (1, 4):
        tiny.run_tiny(
            tmp_path / str(count), critic=OneLevel(), pair=Copies(tiny.tiny_file(), "cpu"), steps=1, batch_size=count
        )
    one, four = (state_of(tmp_path / str(count)) for count in (1, 4))
    for name in one:
        if "exp_avg." in name:
            assert one[name].abs().max() > 0
            torch.testing.assert_close(four[name], one[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size, accumulation", [(2, 2), (1, 4)])
@pytest.mark.parametrize(
    "changed", [{}, {"directional": 1.0, "reconstruction": 1.0, "average": True}], ids=["plain", "regularised"]
)
def test_accumulated_micro_batches_adapt_as_one_batch(tmp_path, batch_size, accumulation, changed):
    tiny.run_tiny(tmp_path / "whole", batch_size=4, **changed)
    tiny.run_tiny(tmp_path / "cut", batch_size=batch_size, accumulation=accumulation, **changed)
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    whole, cut = result_of(tmp_path / "whole").weights, result_of(tmp_path / "cut").weights
    assert max(float((whole[name] - cut[name]).abs().max()) for name in whole) < 1e-6


# --- what moves ------------------------------------------------------------------------------------------------------


def trained_names(pair):
    return {name for name, parameter in pair.module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("styles", [None, [1, 4]])
def test_what_is_selected_moves_and_every_other_number_of_generator_and_source_stays(tmp_path, styles):
    file = tiny.tiny_file()
    before = {name: tensor.clone() for name, tensor in file.weights.items()}
    pair = AdaptedPair(file, "cpu", styles)
    tiny.run_tiny(tmp_path, pair=pair)
    after = result_of(tmp_path).weights
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == trained_names(pair)
    layers = ["b8.conv0", "b16.conv1"] if styles else ["b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"]
    assert moved == {
        f"synthesis.{layer}.{part}" for layer in layers for part in ("weight", "affine.weight", "noise_strength")
    }
    assert same(file.weights, before) and same(dict(pair.source.state_dict()), before)
    assert same({name: tensor.detach() for name, tensor in pair.module.state_dict().items()}, after), (
        "after the end the module is the result"
    )


def test_what_is_frozen_is_held_once(tmp_path):
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    source = {name: tensor.data_ptr() for name, tensor in pair.source.state_dict().items()}
    own = {name for name, tensor in pair.module.state_dict().items() if tensor.data_ptr() != source[name]}
    assert own == trained_names(pair)


def test_the_average_is_what_is_written_and_shown_and_without_it_the_last_weights_are(tmp_path):
    for average in (False, True):
        folder, pair = tmp_path / str(average), AdaptedPair(tiny.tiny_file(), "cpu")
        shown = {}
        with closing(tiny.started(folder, pair=pair, average=average, sample_every=4, steps=8)) as events:
            for event in events:
                if isinstance(event, Sample):
                    shown[event.step] = pair.file({}).weights
        state, kind = state_of(folder), "average" if average else "parameter"
        assert list(shown) == [0, 4, 8]
        assert any(name.startswith("average.") for name in state) == average
        for name in trained_names(pair):
            assert torch.equal(shown[8][name], state[f"{kind}.{name}"]) and torch.equal(
                result_of(folder).weights[name], state[f"{kind}.{name}"]
            )
        assert same(shown[0], tiny.tiny_file().weights)


def test_the_critic_keeps_its_own_precision_and_narrow_feature_maps_give_nearly_the_same_steps(tmp_path):
    class Watching(tiny.GaussianCritic):
        def encode(self, pixels):
            assert pixels.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            return super().encode(pixels)

    for precision in ("fp32", "bf16", "fp16"):
        tiny.run_tiny(tmp_path / precision, critic=Watching(), precision=precision, steps=12, learning_rate=5e-3)
    exact = losses(tmp_path / "fp32")
    for precision in ("bf16", "fp16"):
        assert losses(tmp_path / precision) != exact
        assert losses(tmp_path / precision)[0] == pytest.approx(exact[0], rel=0.01)
        assert losses(tmp_path / precision) == pytest.approx(exact, rel=0.15)


def test_a_generator_file_that_was_read_in_inference_mode_can_be_adapted(tmp_path):
    with torch.inference_mode():
        file = tiny.tiny_file()
        assert all(tensor.is_inference() for tensor in file.weights.values())
    tiny.run_tiny(tmp_path, pair=AdaptedPair(file, "cpu"), steps=2)
    assert same(file.weights, tiny.tiny_file().weights)


def test_a_file_in_half_precision_is_adapted_in_float32(tmp_path):
    file = tiny.tiny_file()
    half = replace(file, weights={name: tensor.half() for name, tensor in file.weights.items()})
    tiny.run_tiny(tmp_path, pair=AdaptedPair(half, "cpu"), steps=1)
    assert {tensor.dtype for tensor in result_of(tmp_path).weights.values()} == {torch.float32}
    assert {tensor.dtype for tensor in half.weights.values()} == {torch.float16}


def test_a_run_draws_nothing_from_the_global_generator(tmp_path):
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    before = torch.get_rng_state()
    tiny.run_tiny(tmp_path, pair=pair, layers=2)
    assert torch.equal(torch.get_rng_state(), before)


# --- the pair --------------------------------------------------------------------------------------------------------


def test_source_and_adapted_pictures_are_drawn_from_the_same_styles():
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    adapted, source = pair.draw(3, torch.Generator().manual_seed(1), 0.8, with_source=True)
    assert torch.equal(adapted, source) and adapted.requires_grad and not source.requires_grad
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(source, build_generator(tiny.tiny_file())(z, psi=0.8))
    assert pair.draw(3, torch.Generator().manual_seed(1))[1] is None


def test_the_shares_of_a_batch_are_its_parts():
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    whole, _ = pair.draw(6, torch.Generator().manual_seed(1))
    parts = [pair.draw(2, torch.Generator().manual_seed(1), share=Share(index, 3))[0] for index in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_generator_with_classes_is_shown_and_trained_on_all_of_them(tmp_path):
    config = replace(tiny.CONFIG, c_dim=3)
    pair = AdaptedPair(tiny.tiny_file(config=config), "cpu")
    network, seen = build_generator(tiny.tiny_file(config=config)), set()
    for seed in range(4):
        expected = network(latents([seed], 5), torch.eye(3)[[seed % 3]], psi=0.7)
        assert torch.equal(pair.compare([seed])[0], expected)
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(2))
    (styles,) = pair.draw_inputs(40, torch.Generator().manual_seed(2))
    for number in range(40):
        each = [network.styles(z[[number]], torch.eye(3)[[kind]])[0] for kind in range(3)]
        seen |= {kind for kind in range(3) if torch.allclose(styles[number], each[kind], atol=1e-5)}
    assert seen == {0, 1, 2}
    tiny.run_tiny(tmp_path, pair=pair, steps=2)


def test_a_comparison_shows_the_source_above_the_adapted_picture_seed_by_seed(tmp_path):
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    tiny.run_tiny(tmp_path, pair=pair, steps=20, learning_rate=0.02)
    picture = comparison_picture(pair, [3, 5, 9], psi=0.5)
    assert picture.size == (3 * 16, 2 * 16)
    for row, weights in enumerate((tiny.tiny_file(), result_of(tmp_path))):
        for column, seed in enumerate((3, 5, 9)):
            drawn = build_generator(weights)(latents([seed], 5), psi=0.5)[0].clamp(-1, 1)
            shown = torch.frombuffer(
                bytearray(picture.crop((16 * column, 16 * row, 16 * column + 16, 16 * row + 16)).tobytes()),
                dtype=torch.uint8,
            )
            assert (shown.reshape(16, 16, 3).permute(2, 0, 1).float() / 127.5 - 1 - drawn).abs().max() < 0.005


@pytest.mark.parametrize(
    "styles, words",
    [
        ([0], "drive no layer that is trained: choose from 1 to 4"),
        ([5, 0], "drive no layer"),
        ([], "drive no layer"),
        ([2, 6], "has 0 to 5"),
    ],
)
def test_styles_that_train_nothing_are_refused(styles, words):
    with pytest.raises(ValueError, match=words):
        AdaptedPair(tiny.tiny_file(), "cpu", styles)


# --- what is told and written ----------------------------------------------------------------------------------------


def test_a_run_tells_what_happens_in_order_and_ends_with_a_generator_file(tmp_path):
    events = tiny.run_tiny(tmp_path, steps=7, sample_every=3)
    kinds = [(type(event), event.step) for event in events]
    steps = [(Step, n) for n in range(1, 8)]
    third, sixth = ([(Saved, n), (Sample, n)] for n in (3, 6))
    assert kinds == [
        (Prepared, 0),
        (Sample, 0),
        *steps[:3],
        *third,
        *steps[3:6],
        *sixth,
        steps[6],
        (Saved, 7),
        (Finished, 7),
    ]
    assert events[-1] == Finished(7, RunFiles(tmp_path, "run").result, None)


def test_the_card_keeps_the_origin_and_says_how_it_was_adapted(tmp_path):
    file = tiny.tiny_file()
    tiny.run_tiny(tmp_path / "first", pair=AdaptedPair(file, "cpu"), steps=2, directional=1.0)
    first = result_of(tmp_path / "first")
    record = first.card.training
    assert first.card.origin == file.card.origin and first.card.config == file.card.config
    assert record["critic"] == tiny.GaussianCritic().identity and record["trained_steps"] == 2
    assert (
        record["distillation"]["directional"] == 1.0
        and record["learning_rate"] == 2e-3
        and record["source"] == AdaptedPair(file, "cpu").digest
    )
    json.dumps(record, allow_nan=False)
    tiny.run_tiny(tmp_path / "second", pair=AdaptedPair(first, "cpu"), steps=1)
    assert result_of(tmp_path / "second").card.training["source_training"] == record


def test_before_the_first_step_it_says_what_memory_it_takes(tmp_path):
    pair = AdaptedPair(tiny.tiny_file(), "cpu")
    trained = 4 * sum(parameter.numel() for parameter in pair.module.parameters() if parameter.requires_grad)
    everything = sum(tensor.nbytes for tensor in pair.source.state_dict().values())
    plain, averaged = (
        tiny.run_tiny(tmp_path / str(average), pair=pair, average=average)[0] for average in (False, True)
    )
    for words in ("8 steps.", "The critic's own memory is not counted", "MiB of memory"):
        assert words in plain.message
    assert (plain.memory.weights, plain.memory.gradients, plain.memory.optimizer) == (
        everything + trained,
        trained,
        2 * trained,
    )
    assert (plain.memory.average, averaged.memory.average) == (0, trained)
    # At least the input of each convolution, and the picture that the critic's encoder averages over.
    assert plain.memory.activations >= 4 * (6 * 16 + 6 * 64 + 6 * 64 + 4 * 256)


def test_the_activations_that_are_told_are_those_of_the_whole_batch(tmp_path):
    class Heavy(tiny.GaussianCritic):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 101, padding=50).requires_grad_(False)

        def encode(self, pixels):
            return super().encode(self.conv(pixels))

    for count in (1, 2, 5):
        told = tiny.run_tiny(tmp_path / str(count), critic=Heavy(), steps=1, batch_size=count)[0].memory.activations
        pair, critic = AdaptedPair(tiny.tiny_file(), "cpu"), Heavy()
        images = partial(pair.draw, count, torch.Generator().manual_seed(0))
        assert told == pytest.approx(
            activation_bytes(lambda: critic.encode(images()[0].clamp(-1, 1)), pair.module), rel=0.02
        )


def test_the_curve_shows_every_step_and_the_mean_of_its_neighbours(tmp_path):
    from domain_guidance.runs import curves

    tiny.run_tiny(tmp_path, steps=60, checkpoint_every=0)
    means = curves._smooth(list(enumerate(losses(tmp_path), start=1)))
    assert [step for step, _ in means] == list(range(2, 60)), "over three steps, each at the middle one"
    assert [value for _, value in means] == pytest.approx([sum(losses(tmp_path)[n : n + 3]) / 3 for n in range(58)])
    picture = curves.draw_curves(RunFiles(tmp_path, "run").log)
    drawn = {colour for _, colour in picture.getcolors(picture.width * picture.height)}
    assert {curves.STEP_LOSS, curves.TRAINING} <= drawn and curves.HELD_OUT not in drawn


# --- exact resuming --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"average": True, "directional": 1.0},
        {"layers": 2},
        {"precision": "fp16"},
        {"batch_size": 2, "accumulation": 2},
    ],
    ids=lambda changed: "+".join(changed) or "plain",
)
@pytest.mark.parametrize(
    "event",
    [Step(4, 0, 0), Saved(Path(), 6), Sample(4), Step(8, 0, 0)],
    ids=lambda event: f"{type(event).__name__}{event.step}",
)
def test_a_run_that_was_left_after_any_event_ends_as_the_uninterrupted_one(tmp_path, changed, event):
    tiny.run_tiny(tmp_path / "whole", sample_every=4, **changed)
    with closing(tiny.started(tmp_path / "left", sample_every=4, **changed)) as events:
        for heard in events:
            if type(heard) is type(event) and heard.step == event.step:
                break
    with safe_open(RunFiles(tmp_path / "left", "run").state, "pt") as file:
        assert int(file.metadata()["step"]) == event.step
    tiny.run_tiny(tmp_path / "left", sample_every=4, **changed)
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "left"))
    assert same(result_of(tmp_path / "whole").weights, result_of(tmp_path / "left").weights)
    assert losses(tmp_path / "whole") == losses(tmp_path / "left")


def test_more_steps_extend_a_finished_run_and_none_makes_the_same_file_again(tmp_path):
    tiny.run_tiny(tmp_path / "whole", steps=8)
    tiny.run_tiny(tmp_path / "extended", steps=5)
    tiny.run_tiny(tmp_path / "extended", steps=8)
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "extended"))
    before = RunFiles(tmp_path / "whole", "run").result.read_bytes()
    again = tiny.run_tiny(tmp_path / "whole", steps=8)
    assert not events_of(Step, again) and "has finished its 8 steps" in again[0].message
    assert RunFiles(tmp_path / "whole", "run").result.read_bytes() == before


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"critic": tiny.GaussianCritic((0.0, 0.0, 0.0))},
            r"critic prompt was \(0.6, -0.4, 0.1\) and is \(0.0, 0.0, 0.0\)",
        ),
        ({"pair": AdaptedPair(tiny.tiny_file(seed=1), "cpu")}, "generator changed"),
        ({"pair": AdaptedPair(tiny.tiny_file(), "cpu", [1])}, r"trained styles was None and is \[1\]"),
        ({"noise": NoiseRange(0.01, 0.4)}, "distillation noise high was 0.5 and is 0.4"),
        ({"directional": 1.0}, "distillation directional was 0.0 and is 1.0"),
        ({"layers": 1}, r"layers was 0 and is 1, trained styles was None and is \[1\]"),
        ({"batch_size": 2}, "images a step was 1 and is 2"),
        ({"average": True}, "average was False and is True"),
    ],
    ids=lambda value: None if isinstance(value, str) else "+".join(value),
)
def test_another_run_is_refused_with_the_difference_named_and_the_state_left_alone(tmp_path, options, words):
    tiny.run_tiny(tmp_path)
    before = RunFiles(tmp_path, "run").state.read_bytes()
    with pytest.raises(
        ValueError,
        match=f"cannot be resumed: .*{words}.*Change the setting back, choose another name, or start a new version",
    ):
        tiny.run_tiny(tmp_path, steps=9, **options)
    assert RunFiles(tmp_path, "run").state.read_bytes() == before


def test_a_generator_that_differs_in_one_frozen_number_is_another_one(tmp_path):
    tiny.run_tiny(tmp_path)
    other = tiny.tiny_file()
    other.weights["synthesis.b4.conv1.bias"][2] += 1e-7
    with pytest.raises(ValueError, match="generator changed"):
        tiny.run_tiny(tmp_path, pair=AdaptedPair(other, "cpu"))


@pytest.mark.parametrize(
    "directional, same_run", [({}, True), ({"relative_distance": 1.0}, False)], ids=["plain", "pictures compared"]
)
def test_a_batch_may_be_cut_otherwise_when_a_run_goes_on_unless_its_pictures_are_compared(
    tmp_path, directional, same_run
):
    tiny.run_tiny(tmp_path, steps=3, batch_size=6, **directional)
    if same_run:
        tiny.run_tiny(tmp_path, steps=5, batch_size=3, accumulation=2, **directional)
        return
    with pytest.raises(ValueError, match="pictures compared at once was 6 and is 3"):
        tiny.run_tiny(tmp_path, steps=5, batch_size=3, accumulation=2, **directional)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_critic_that_is_nan_in_places_moves_nothing_there_and_the_run_goes_on(tmp_path):
    class Broken(tiny.GaussianCritic):
        def denoise(self, noisy, sigma):
            answer = super().denoise(noisy, sigma)
            answer[:, :, :4] = math.nan
            answer[:, :, 4] = math.inf
            return answer

    tiny.run_tiny(tmp_path, critic=Broken(), steps=5)
    assert all(math.isfinite(loss) for loss in losses(tmp_path))


def test_a_critic_that_says_nothing_finite_ends_the_run_in_one_sentence_and_the_state_stays(tmp_path):
    class Overflowing(tiny.GaussianCritic):
        def denoise(self, noisy, sigma):
            answer = super().denoise(noisy, sigma)
            return answer if len(self.asked) < 6 else answer * math.nan

    with pytest.raises(
        FloatingPointError, match="prediction of step 6 is all NaN or infinite: run the model or its VAE in fp32"
    ):
        tiny.run_tiny(tmp_path, critic=Overflowing())
    assert all(tensor.isfinite().all() for tensor in state_of(tmp_path).values()) and len(losses(tmp_path)) == 5


def test_a_generator_that_is_no_longer_finite_is_not_saved(tmp_path):
    events, pair = tiny.run_tiny(tmp_path, steps=3), AdaptedPair(tiny.tiny_file(), "cpu")
    kept = RunFiles(tmp_path, "run").state.read_bytes()
    with pytest.raises(
        FloatingPointError, match="weights of step 4 hold NaN or infinity and are not saved: lower the learning rate"
    ):
        with closing(tiny.started(tmp_path, pair=pair, steps=9)) as events:
            for event in events:
                if isinstance(event, Step):
                    next(parameter for parameter in pair.module.parameters() if parameter.requires_grad).data[0] = (
                        math.nan
                    )
                    break
    assert RunFiles(tmp_path, "run").state.read_bytes() == kept


def test_a_rate_that_is_far_too_high_ends_the_run_before_nan_reaches_the_weights(tmp_path):
    with pytest.raises(FloatingPointError, match="lower the learning rate|critic's prediction"):
        tiny.run_tiny(tmp_path, learning_rate=1e30)
    assert all(tensor.isfinite().all() for tensor in state_of(tmp_path).values())


@pytest.mark.parametrize("problem", [torch.cuda.OutOfMemoryError("out of memory"), KeyboardInterrupt()])
def test_an_exception_inside_a_step_leaves_the_state_of_the_step_before(tmp_path, problem):
    class Failing(tiny.GaussianCritic):
        def denoise(self, noisy, sigma):
            if len(self.asked) == 4:
                raise problem
            return super().denoise(noisy, sigma)

    with pytest.raises(type(problem)):
        tiny.run_tiny(tmp_path, critic=Failing(), checkpoint_every=0)
    assert int(state_of(tmp_path)["optimizer.step.synthesis.b8.conv0.weight"]) == 4


def test_a_folder_that_cannot_be_written_is_one_sentence_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    critic = tiny.GaussianCritic()
    with pytest.raises(RunFileError, match="nothing of the run is saved yet"):
        tiny.run_tiny(tmp_path / "file" / "sub", critic=critic)
    assert not critic.asked


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"truncation": 0.0}, "truncation is 0.0"),
        ({"truncation": math.nan}, "truncation is nan"),
        ({"layers": -1}, "layers is -1"),
        ({"perceptual": -0.1}, "perceptual is -0.1"),
        ({"weight_decay": 0.01}, "weight_decay is 0.01"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"precision": "fp8"}, "precision is 'fp8': choose one of fp32, bf16, fp16"),
        ({"relative_distance": 1.0, "batch_size": 2}, "batch_size is 2: raise it to at least 3"),
        ({"score": "nada"}, "score is 'nada': choose one of sds, likelihood"),
        ({"resolution": 0}, "resolution is 0: give the side"),
        ({"percentile": 0.0}, "percentile is 0.0"),
        ({"directional": math.nan}, "directional is nan"),
        ({"reconstruction": -1.0}, "reconstruction is -1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_sentence(changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny.tiny_settings(**changed)
    assert "\n" not in str(caught.value)


def test_the_defaults_are_the_papers_for_faces():
    settings = AdaptationSettings()
    assert (settings.learning_rate, settings.batch_size, settings.weight_decay, settings.max_gradient_norm) == (
        8e-4,
        1,
        0.0,
        math.inf,
    )
    assert (
        settings.distillation.noise == NoiseRange(0.01, 0.5)
        and settings.distillation.resolution == 512
        and settings.truncation == 1.0
    )


def test_a_broken_file_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(GeneratorFileError):
        AdaptedPair(read_generator_file(tmp_path / "missing.safetensors"), "cpu")
