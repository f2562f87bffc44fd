"""The student of 8 steps: its noise levels, what it is taught, and what the shipped one promises."""

import pytest
import torch

from domain_guidance.diffusers_host.denoiser import DiffusersDenoiser
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.diffusion.sampling import karras_sigmas, sample_euler
from domain_guidance.evaluation import scores
from domain_guidance.toy_world import checkpoints, comparison, student
from domain_guidance.toy_world.prompts import encode, encode_prompt
from domain_guidance.training import Batch

SCHEDULE = scaled_linear()
SIGMAS = karras_sigmas(student.STEPS, float(SCHEDULE.sigmas[0]), float(SCHEDULE.sigmas[-1]))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(generator):
    return Batch(torch.randn(4, 3, 16, 16, generator=generator), torch.ones(4, 2, 5))


def loss(teacher, learner, weight=torch.ones_like):
    """The objective for denoisers that are given as functions of (x, sigma, whether the prompt is asked)."""

    def told(denoise):
        return lambda x, sigma, prompt: denoise(x, sigma, prompt[:, :1, :1, None])

    empty = torch.zeros(1, 2, 5)
    return student.student_objective(told(teacher), told(learner), pictures, empty, SCHEDULE, weight)(seeded(1)).item()


def test_whole_places_are_karras_levels_and_the_end_is_without_noise():
    torch.testing.assert_close(student.level(torch.arange(9.0), SCHEDULE), SIGMAS)


def test_levels_fall_from_place_to_place():
    assert (student.level(torch.linspace(0, 8, 200), SCHEDULE).diff() < 0).all()


def test_a_teacher_whose_answer_never_changes_is_followed_in_one_step():
    def constant(x, sigma, asked):
        return torch.full_like(x, 0.25)

    assert loss(constant, constant) < 1e-8


def test_the_student_is_taught_the_guided_answer():
    def teacher(x, sigma, asked):
        return 0.5 + asked * 0.1 + torch.zeros_like(x)

    assert loss(teacher, lambda x, sigma, asked: torch.full_like(x, 0.5 + student.CFG * 0.1)) < 1e-8
    assert loss(teacher, lambda x, sigma, asked: torch.full_like(x, 0.5 + 0.1)) > 1e-3


def test_the_loss_is_the_weighted_error_in_noise():
    def constant(value):
        return lambda x, sigma, asked: torch.full_like(x, value)

    found = loss(constant(0.0), constant(0.3), weight=lambda sigma: 2 * sigma.square())
    assert found == pytest.approx(2 * 0.3**2, rel=1e-5)


def test_one_step_of_the_student_is_several_of_the_teacher_where_the_field_bends():
    def bent(x, sigma, asked):
        return torch.tanh(3 * x)

    assert loss(bent, bent, weight=torch.square) > 1e-4


@pytest.fixture(scope="module")
def drawn():
    """What base and student draw of 50 prompts in 8 steps at cfg 1, by the judge."""
    asked, table = comparison.every_prompt(1), checkpoints.load_base()[1]
    noise = torch.randn(len(asked), 3, 16, 16, generator=seeded(3)) * SIGMAS[0]
    found = {}
    for name in (checkpoints.BASE, checkpoints.STUDENT):
        denoise = DiffusersDenoiser(checkpoints.load_base(name=name)[0], SCHEDULE)
        with torch.no_grad():
            images = sample_euler(lambda x, sigma: denoise(x, sigma, encode(asked, table)), noise, SIGMAS)
        found[name] = checkpoints.load_judge().read(images)
    return asked, found


def test_the_shipped_student_draws_what_was_asked_in_8_steps_at_cfg_1_and_the_base_does_not(drawn):
    asked, found = drawn
    digits = {name: scores.share(read.digit, asked.digit) for name, read in found.items()}
    assert digits[checkpoints.STUDENT] >= 0.9 > digits[checkpoints.BASE] + 0.1


def test_the_shipped_student_reads_the_bases_words():
    table = checkpoints.load_base(name=checkpoints.STUDENT)[1]
    assert torch.equal(encode_prompt(table), encode_prompt(checkpoints.load_base()[1]))
