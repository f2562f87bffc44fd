"""The one training loop, on nets small enough to know the answer."""

import math

import pytest
import torch
from mapped import is_mapped, needs_maps
from safetensors.torch import load_file
from torch import nn

from domain_guidance import runs, training
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.diffusion.parameterization import denoised
from domain_guidance.runs import Checkpoint, Finished, Sample, Settings, Step, TrainingState, train
from domain_guidance.runs.optimizers import adamw_8bit
from domain_guidance.training import Batch

SCHEDULE = scaled_linear()


class Mean(nn.Module):
    """The ideal denoiser of one picture that is `value` everywhere, as a predictor of noise."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))

    def forward(self, scaled, timestep, conditioning):
        sigma = SCHEDULE.sigma(timestep).view(-1, 1, 1, 1)
        return (scaled * (sigma**2 + 1).sqrt() - self.value) / sigma


def constant_pictures(generator, value=0.7):
    return Batch(torch.full((8, 1, 4, 4), value), None)


def setup(settings, module=None):
    module = module or Mean()
    objective = training.noise_objective(module, constant_pictures, SCHEDULE)
    return module, TrainingState(module, settings), objective


def test_training_finds_the_picture_that_all_data_show():
    settings = Settings(steps=300, learning_rate=0.05, weight_decay=0, cosine=True)
    module, state, objective = setup(settings)
    events = list(train(state, objective, settings))
    assert module.value.item() == pytest.approx(0.7, abs=0.01)
    assert events[-1] == Finished(300)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 301))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_loss_is_zero_for_a_net_that_knows_the_answer(prediction):
    def oracle(scaled, timestep, conditioning):
        noise = Mean(0.7)(scaled, timestep, conditioning)
        sigma = SCHEDULE.sigma(timestep).view(-1, 1, 1, 1)
        # Salimans and Ho 2022: v = alpha noise - sigma_vp x0.
        return noise if prediction == "epsilon" else (noise - sigma * 0.7) / (sigma**2 + 1).sqrt()

    generator = torch.Generator().manual_seed(0)
    loss = training.noise_loss(oracle, constant_pictures(generator), SCHEDULE, prediction, generator)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_the_loss_weighs_every_picture_by_its_own_noise_level():
    seen = []

    def nothing(scaled, timestep, conditioning):
        seen.append(SCHEDULE.sigma(timestep))
        return torch.zeros_like(scaled)

    def loss(weight):
        generator = torch.Generator().manual_seed(0)
        batch = constant_pictures(generator)
        return training.noise_loss(nothing, batch, SCHEDULE, "epsilon", generator, weight)

    per_level = torch.stack([loss(lambda sigma, chosen=i: (torch.arange(8) == chosen).float()) for i in range(8)])
    torch.testing.assert_close(per_level.sum(), loss(None))
    torch.testing.assert_close((per_level * seen[0]).sum(), loss(lambda sigma: sigma))


def test_timesteps_are_drawn_from_the_whole_schedule_and_the_seed_alone():
    drawn = []

    def record(scaled, timestep, conditioning):
        drawn.append(timestep)
        return scaled

    for noise in range(2):
        torch.manual_seed(noise)  # the global generator must not matter
        generator = runs.step_generator(step=3, seed=5)
        batch = Batch(torch.zeros(4000, 1, 1, 1), None)
        training.noise_loss(record, batch, SCHEDULE, "epsilon", generator)
    assert torch.equal(drawn[0], drawn[1])
    counts = drawn[0].div(100, rounding_mode="floor").bincount(minlength=10)
    assert counts.min() > 330 and counts.max() < 470


def test_every_seed_and_every_step_draw_other_noise():
    drawn = [
        torch.randn(4, generator=runs.step_generator(step, seed))
        for seed in (0, 1, 2, 2**31 - 1)
        for step in (0, 1, 999_999)
    ]
    assert len({tuple(noise.tolist()) for noise in drawn}) == len(drawn)


def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_does(tmp_path):
    settings = Settings(steps=20, learning_rate=0.05, cosine=True, warmup=4, checkpoint_every=7)
    whole, state, objective = setup(settings)
    whole_events = list(train(state, objective, settings))

    _, state, objective = setup(settings)
    for event in train(state, objective, settings):
        if isinstance(event, Checkpoint):
            runs.save_state(tmp_path / "run.safetensors", state)
            break
    resumed, state, objective = setup(settings, Mean(99.0))
    runs.load_state(tmp_path / "run.safetensors", state)
    resumed_events = list(train(state, objective, settings))

    assert torch.equal(resumed.value, whole.value)
    assert resumed_events == [event for event in whole_events if event.step > 7]
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


@needs_maps
def test_a_resumed_run_does_not_hold_on_to_its_file_which_it_will_replace(tmp_path):
    settings = Settings(steps=4, learning_rate=0.1)
    _, state, objective = setup(settings)
    list(train(state, objective, settings))
    runs.save_state(tmp_path / "run", state)
    _, resumed, _ = setup(settings)
    runs.load_state(tmp_path / "run", resumed)
    assert not is_mapped(tmp_path / "run") and resumed.step == 4


def test_plain_settings_make_the_textbook_loop_bit_for_bit():
    """The shipped toy weights were trained with plain settings; whatever else the loop learns to do must not move a bit
    of them.
    """
    settings = Settings(steps=12, learning_rate=0.05, cosine=True, warmup=4, seed=3, max_gradient_norm=0.5)
    net, twin = (
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 1, 3, padding=1)) for _ in range(2)
    )
    twin.load_state_dict(net.state_dict())
    objective = training.noise_objective(lambda x, t, c: net(x), constant_pictures, SCHEDULE)
    losses = [
        event.loss for event in train(TrainingState(net, settings), objective, settings) if isinstance(event, Step)
    ]

    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.05, weight_decay=1e-2)
    averages = [p.detach().clone() for p in twin.parameters()]
    for step in range(12):
        generator = runs.step_generator(step, seed=3)
        clean = constant_pictures(generator).clean
        timestep = torch.randint(1000, (8,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = SCHEDULE.sigmas[timestep].view(-1, 1, 1, 1)
        loss = (twin((clean + sigma * noise) / (sigma**2 + 1) ** 0.5) - noise).square().flatten(1).mean(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = runs.learning_rate(step, settings)
        optimizer.step()
        optimizer.zero_grad()
        assert losses[step] == loss.item()
        for average, parameter in zip(averages, twin.parameters()):
            average.lerp_(parameter.detach(), 1 - min(0.9999, 1 - (2 + step) ** (-2 / 3)))
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), averages))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_min_snr_weighs_the_error_of_the_denoised_prediction_with_the_capped_ratio(prediction):
    sigma = torch.tensor([0.05, 0.3, 0.44, 0.46, 0.9])
    x, output, other = (torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(n)) for n in range(3))
    error, denoised_error = (
        (one - two).square().flatten(1).mean(1)
        for one, two in ((output, other), tuple(denoised(o, x, sigma, prediction) for o in (output, other)))
    )
    alpha = 1 - sigma if prediction == "flow" else torch.ones(5)
    snr = (alpha / sigma) ** 2
    torch.testing.assert_close(
        training.min_snr(5.0, prediction)(sigma) * error, torch.minimum(snr, torch.tensor(5.0)) * denoised_error
    )
    assert (snr > 5).any() and (snr < 5).any()


def test_min_snr_is_the_papers_weight_for_noise_and_velocity():
    sigma = torch.tensor([0.1, 1.0, 10.0])
    snr = 1 / sigma**2
    torch.testing.assert_close(training.min_snr(5.0, "epsilon")(sigma), snr.clamp(max=5) / snr)
    torch.testing.assert_close(training.min_snr(5.0, "v_prediction")(sigma), snr.clamp(max=5) / (snr + 1))


def test_fp16_leaves_out_a_step_whose_scaled_gradient_overflows_and_goes_on(tmp_path):
    net, settings = nn.Linear(4, 4), Settings(steps=14, learning_rate=0.1)

    def objective(generator):
        return 30 * net(torch.ones(1, 4)).square().sum()

    state, process = TrainingState(net, settings), runs.OneProcess("fp16")
    process.prepare(net, state.optimizer)
    events, before = train(state, objective, settings, process), net.weight.clone()
    assert next(events).step == 1
    assert torch.equal(net.weight, before) and process.scaling()["scale"] == 2**15
    runs.save_state(tmp_path / "run", state)
    runs.load_state(tmp_path / "run", TrainingState(net, settings))
    list(events)
    assert not torch.equal(net.weight, before) and net.weight.isfinite().all()


def test_fp16_whose_gradient_is_finite_at_no_loss_scale_ends_in_one_sentence():
    class NoGradient(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * math.nan

    net, settings = nn.Linear(4, 4), Settings(steps=100)
    state, process = TrainingState(net, settings), runs.OneProcess("fp16")
    process.prepare(net, state.optimizer)
    with pytest.raises(FloatingPointError, match="^The gradient of step 18 is nan in fp16 .*: .* in bf16 or fp32.$"):
        list(train(state, lambda generator: NoGradient.apply(net(torch.ones(1, 4))).square().mean(), settings, process))
    assert state.step == 17, "from a scale of 2^16 to one of 1, each of which may have been too high"


def test_eight_bit_adam_keeps_small_moments_and_resumes_exactly(tmp_path):
    pytest.importorskip("bitsandbytes")
    settings = Settings(steps=8, learning_rate=0.1)

    def made():
        torch.manual_seed(0)
        net = nn.Linear(128, 64)
        state = TrainingState(net, settings, adamw_8bit)
        return (
            net,
            state,
            train(state, lambda generator: net(torch.randn(4, 128, generator=generator)).square().mean(), settings),
        )

    whole, state, events = made()
    for event in events:
        if isinstance(event, Step) and event.step == 4:
            runs.save_state(tmp_path / "run", state)
    assert {
        tensor.dtype for tensor in state.optimizer.state[whole.weight].values() if getattr(tensor, "ndim", 0) == 2
    } == {torch.uint8}
    resumed, state, events = made()
    runs.load_state(tmp_path / "run", state)
    list(events)
    assert state.step == 8 and torch.equal(resumed.weight, whole.weight)


class OneTable(torch.optim.AdamW):
    """Gives every parameter the same tensor in its state, as bitsandbytes does with its table of 8-bit values."""

    table = torch.linspace(-1, 1, 256)

    def step(self, closure=None):
        super().step(closure)
        for state in self.state.values():
            state["qmap1"] = state["qmap2"] = self.table


def test_an_optimiser_whose_parameters_share_a_table_is_saved_and_resumes_exactly(tmp_path):
    settings = Settings(steps=6, learning_rate=0.1)

    def made():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        state = TrainingState(
            net, settings, lambda parameters, settings: OneTable(parameters, lr=settings.learning_rate)
        )
        return (
            net,
            state,
            train(state, lambda generator: net(torch.randn(4, 3, generator=generator)).square().mean(), settings),
        )

    whole, state, events = made()
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            runs.save_state(tmp_path / "run", state)
    tables = [tensor for name, tensor in load_file(tmp_path / "run").items() if "qmap" in name]
    assert len(tables) == 2 * 4 and all(torch.equal(table, OneTable.table) for table in tables)
    resumed, state, events = made()
    runs.load_state(tmp_path / "run", state)
    list(events)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters()))


def test_a_file_of_another_model_is_refused(tmp_path):
    settings = Settings(steps=1)
    _, state, objective = setup(settings)
    list(train(state, objective, settings))
    runs.save_state(tmp_path / "run.safetensors", state)
    other = TrainingState(nn.Linear(2, 2), settings)
    with pytest.raises(ValueError, match="'run.safetensors' is a saved run of another network"):
        runs.load_state(tmp_path / "run.safetensors", other)


def test_saving_before_the_first_step_is_refused(tmp_path):
    _, state, _ = setup(Settings(steps=1))
    with pytest.raises(ValueError, match="before the first step"):
        runs.save_state(tmp_path / "run.safetensors", state)


def test_the_decay_of_the_average_is_the_papers():
    assert runs.ema_decay(0) == 0
    assert runs.ema_decay(7) == pytest.approx(1 - 1 / 4)
    assert runs.ema_decay(999_999) == pytest.approx(0.9999)
    assert runs.ema_decay(10**9) == 0.9999


def test_the_average_is_the_written_out_sum_of_all_steps():
    parameter = nn.Parameter(torch.tensor([0.0]))
    ema, expected = runs.Ema({"p": parameter}), 0.0
    for step, value in enumerate((3.0, -1.0, 10.0), start=1):
        parameter.data.fill_(value)
        ema.update(step)
        expected = runs.ema_decay(step) * expected + (1 - runs.ema_decay(step)) * value
    assert ema.averages["p"].item() == pytest.approx(expected)


def test_pictures_are_drawn_with_the_average_and_training_goes_on_without_it():
    settings = Settings(steps=4, learning_rate=0.1, sample_every=2)
    module, state, objective = setup(settings)
    shown, averages = [], []
    for event in train(state, objective, settings):
        if isinstance(event, Sample):
            shown.append(module.value.item())
        elif isinstance(event, Step) and event.step % 2 == 0:
            averages.append(state.ema.averages["value"].item())
            assert module.value.item() != averages[-1]
    assert shown == averages and len(shown) == 2
    assert module.value.item() == averages[-1], "after the end the module holds the average"


def test_samples_and_checkpoints_come_when_asked_for_and_else_never():
    settings = Settings(steps=6, sample_every=3, checkpoint_every=2)
    _, state, objective = setup(settings)
    others = [event for event in train(state, objective, settings) if not isinstance(event, Step)]
    assert others == [Checkpoint(2), Sample(3), Checkpoint(4), Sample(6), Checkpoint(6), Finished(6)]
    _, state, objective = setup(Settings(steps=2))
    kinds = [type(event) for event in train(state, objective, Settings(steps=2))]
    assert kinds == [Step, Step, Finished]


def test_the_gradient_is_clipped_to_its_norm():
    settings = Settings(steps=1, max_gradient_norm=1.0)
    module = nn.Linear(2, 1, bias=False)
    state = TrainingState(module, settings)
    list(train(state, lambda generator: 1e4 * module.weight.sum(), settings))
    first_moment = state.optimizer.state[module.weight]["exp_avg"]
    assert first_moment.norm().item() == pytest.approx(0.1, rel=1e-4)  # (1 - beta1) times a gradient of norm 1


def test_the_rate_warms_up_then_stays_or_falls_to_nearly_zero():
    def rate(step, **kind):
        return runs.learning_rate(step, Settings(steps=100, learning_rate=1.0, warmup=10, **kind))

    assert [rate(0), rate(4), rate(9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate(10) == rate(99) == 1.0
    assert rate(10, cosine=True) == 1.0
    assert rate(55, cosine=True) == pytest.approx(0.5)
    assert 0 < rate(99, cosine=True) < 1e-3


def test_a_run_without_averages_holds_and_saves_none_and_ends_with_its_last_weights(tmp_path):
    settings = Settings(steps=4, learning_rate=0.1, sample_every=2)
    module, _, objective = setup(settings)
    state, values = TrainingState(module, settings, average=False), {}
    for event in train(state, objective, settings):
        if isinstance(event, Step):
            values[event.step] = module.value.item()
        else:
            assert module.value.item() == values[event.step]
    runs.save_state(tmp_path / "run", state)
    assert not state.ema.averages and not [name for name in load_file(tmp_path / "run") if name.startswith("average")]
    resumed = TrainingState(Mean(), settings, average=False)
    runs.load_state(tmp_path / "run", resumed)
    assert resumed.parameters["value"].item() == values[4]
    with pytest.raises(ValueError, match="a saved run of another network"):
        runs.load_state(tmp_path / "run", TrainingState(Mean(), settings))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, bad):
    settings = Settings(steps=1)
    module, state, objective = setup(settings)
    list(train(state, objective, settings))
    module.value.data.fill_(bad)
    with pytest.raises(FloatingPointError, match="weights of step 1 hold NaN or infinity and are not saved"):
        runs.save_state(tmp_path / "run", state)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(bad):
    module = Mean(0.25)
    settings = Settings(steps=3)
    state = TrainingState(module, settings)
    with pytest.raises(FloatingPointError, match="loss of step 1 is (nan|inf): lower the learning rate"):
        list(train(state, lambda generator: module.value.sum() * bad, settings))
    assert module.value.item() == 0.25 and state.step == 0


def test_frozen_parameters_are_left_alone():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    before = module.bias.clone()
    settings = Settings(steps=3, learning_rate=0.1)
    state = TrainingState(module, settings)
    list(train(state, lambda generator: module(torch.ones(1, 2)).square().sum(), settings))
    assert torch.equal(module.bias, before)
    assert set(state.parameters) == {"weight"}


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="Every parameter of the model is frozen"):
        TrainingState(nn.Linear(2, 2).requires_grad_(False), Settings(steps=1))


def test_training_for_no_step_is_refused():
    with pytest.raises(ValueError, match="number of steps is 0"):
        Settings(steps=0)
