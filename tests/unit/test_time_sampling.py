"""Which noise levels a training sees how often, against the distributions' own closed forms."""

import pytest
import torch

from domain_guidance.diffusion.noise_schedule import NoiseSchedule, scaled_linear
from domain_guidance.diffusion.time_sampling import LOG_MEAN, LOG_SCALE, draw_timesteps, usual_sampling
from domain_guidance.training import RunSettings

COUNT = 40_000
FLOW = NoiseSchedule(torch.arange(1, 1001) / 1000)
EDM = NoiseSchedule(torch.linspace(-6.2, 4.8, 1000).exp())


def drawn(schedule, sampling, seed=0):
    return draw_timesteps(COUNT, schedule, sampling, torch.Generator().manual_seed(seed))


def test_uniform_draws_are_those_of_the_generator_as_before_there_was_a_choice():
    expected = torch.randint(1000, (COUNT,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn(FLOW, "uniform", 3), expected)


def test_logit_normal_times_have_a_standard_normal_logit():
    times = (drawn(FLOW, "logit-normal").double() + 0.5) / 1000
    logit = (times / (1 - times)).log()
    assert abs(logit.mean()) < 0.02 and abs(logit.std() - 1) < 0.02


def test_a_shifted_schedule_shifts_what_is_drawn_with_it():
    """With shift a, a time t becomes a t / (1 + (a - 1) t), so its logit moves by log a."""
    shifted = NoiseSchedule(3 * FLOW.sigmas / (1 + 2 * FLOW.sigmas))
    times = shifted.sigma(drawn(shifted, "logit-normal")).double().clamp(max=1 - 1e-6)
    assert abs((times / (1 - times)).log().mean() - torch.tensor(3.0).log()) < 0.03


def test_log_normal_levels_have_the_papers_mean_and_scale():
    levels = EDM.sigma(drawn(EDM, "log-normal")).log()
    assert abs(levels.mean() - LOG_MEAN) < 0.03 and abs(levels.std() - LOG_SCALE) < 0.03


@pytest.mark.parametrize("sampling", ["uniform", "logit-normal", "log-normal"])
def test_every_draw_is_a_step_of_the_schedule(sampling):
    short = NoiseSchedule(EDM.sigmas[::333])
    steps = drawn(short, sampling)
    assert steps.dtype == torch.long and steps.min() >= 0 and steps.max() < len(short.sigmas)


def test_what_is_usual_follows_from_the_kind_and_the_levels():
    assert EDM.is_even_in_log_sigma and not scaled_linear().is_even_in_log_sigma and not FLOW.is_even_in_log_sigma
    assert usual_sampling("flow") == "logit-normal"
    assert usual_sampling("v_prediction", EDM.is_even_in_log_sigma) == "log-normal"
    assert usual_sampling("epsilon", scaled_linear().is_even_in_log_sigma) == "uniform"


def test_another_name_is_one_sentence():
    with pytest.raises(ValueError, match="time_sampling is 'sigmoid': give auto or one of uniform, logit-normal"):
        RunSettings(steps=1, time_sampling="sigmoid")
