"""Devices without fp64, such as Apple's GPUs: what is computed in fp64 elsewhere gives the same there.

The device is played by tensors that say they are on one and refuse what it refuses.
"""

import pytest
import torch
from torch import Tensor

from domain_guidance.diffusion.double_precision import has_double, in_double
from domain_guidance.diffusion.noise_schedule import NoiseSchedule, scaled_linear
from domain_guidance.domains.text_free import measure_constants
from domain_guidance.guidance import Projection, Term
from domain_guidance.report import measure
from domain_guidance.side_networks import corrected, make_network, shape_for


class OnApple(Tensor):
    """A tensor of a device that has no fp64."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func == Tensor.device.__get__:
            return torch.device("mps")
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, OnApple) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype.")
        return result


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def on_apple(tensor):
    return tensor.as_subclass(OnApple)


def test_the_played_device_refuses_what_the_real_one_does():
    with pytest.raises(TypeError, match="float64"):
        on_apple(drawn(0, 3)).double()


def test_numbers_go_to_the_cpu_only_where_the_device_has_no_fp64():
    assert [has_double(torch.device(name)) for name in ("cpu", "cuda", "mps", "privateuseone")] == [
        True,
        True,
        False,
        False,
    ]
    assert type(in_double(on_apple(drawn(0, 3)))) is Tensor and in_double(drawn(0, 3)).dtype == torch.float64


def test_a_side_network_corrects_there_as_elsewhere():
    network = make_network(shape_for(4, 8, 8), 1)
    torch.nn.init.normal_(network.last[-1].weight, generator=torch.Generator().manual_seed(2))
    x, sigma, reference = drawn(1, 2, 4, 8, 8), torch.tensor([0.5, 2.0]), drawn(2, 2, 4, 8, 8)
    there = corrected(network, on_apple(x), on_apple(sigma), on_apple(reference), "epsilon")
    assert torch.equal(there.as_subclass(Tensor), corrected(network, x, sigma, reference, "epsilon"))


def test_a_projected_difference_is_the_same_there():
    difference, prediction, projection = drawn(1, 2, 4, 8, 8), drawn(2, 2, 4, 8, 8), Projection(0.25)
    there = projection(on_apple(difference), on_apple(prediction))
    assert torch.equal(there.as_subclass(Tensor), projection(difference, prediction))


def test_the_report_measures_the_same_there():
    sampler, domain, reference = (drawn(seed, 2, 4, 8, 8) for seed in (1, 2, 3))
    there = measure(on_apple(sampler), [Term(on_apple(domain), on_apple(reference), 1.5)], 4.0)
    assert there == measure(sampler, [Term(domain, reference, 1.5)], 4.0)


def test_a_noise_schedule_is_recognised_there():
    levels = torch.logspace(-2, 2, 100)
    for sigmas in (levels, scaled_linear().sigmas.float()):
        assert NoiseSchedule(on_apple(sigmas)).is_even_in_log_sigma == NoiseSchedule(sigmas).is_even_in_log_sigma


def test_the_constants_of_a_text_free_domain_are_measured_there():
    layer, tokens = torch.nn.Linear(4, 4), drawn(1, 2, 6, 4)

    def measured(batch):
        return measure_constants(lambda *inputs: layer(*inputs), {"attention": layer}, [(batch,)])["attention"]

    there, here = measured(on_apple(tokens)), measured(tokens)
    assert torch.equal(there.constant.as_subclass(Tensor), here.constant) and there.residual == here.residual
