"""A side network: the arithmetic that makes one of every kind of model, its growth, its file, and guidance with it."""

import json
from dataclasses import replace

import pytest
import tiny_side
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from domain_guidance.diffusion.parameterization import PREDICTIONS, add_noise, denoised, network_input, training_target
from domain_guidance.domains.domain_file import DomainFileError, read_card, read_domain_file, write_domain_file
from domain_guidance.guidance import GuidedDenoiser
from domain_guidance.side_networks import (
    LatentSpace,
    SideGuidedDenoiser,
    SideNetwork,
    SideShape,
    corrected,
    is_side_file,
    loss_weight,
    make_network,
    read_side_file,
    shape_for,
    write_side_file,
)
from domain_guidance.side_networks.correction import output_of, signal_and_noise
from domain_guidance.side_networks.side_file import METADATA_KEY, PREFIX

SIGMA = {"epsilon": [0.03, 0.7, 14.0], "v_prediction": [0.03, 0.7, 14.0], "flow": [0.03, 0.5, 1.0]}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(network, seed=1):
    """Stand in for training: the output layer is no longer zero."""
    with torch.no_grad():
        network.last[2].weight.copy_(0.1 * drawn(*network.last[2].weight.shape, seed=seed))
    return network.eval()


@pytest.fixture
def network():
    return moved(make_network(shape_for(3, 16, 16), 0))


# --- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_noisy_latent_is_a_point_on_the_circle_of_signal_and_noise(kind):
    sigma, x0, noise = torch.tensor(SIGMA[kind]), drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    alpha, beta, scale = (value.view(-1, 1, 1, 1) for value in signal_and_noise(sigma, kind))
    torch.testing.assert_close(alpha**2 + beta**2, torch.ones_like(alpha))
    torch.testing.assert_close(add_noise(x0, noise, sigma, kind) / scale, alpha * x0 + beta * noise)


class Recording(torch.nn.Module):
    """Keeps what it is given and answers a constant."""

    def forward(self, read, level):
        self.z, self.reference, self.velocity = read.chunk(3, dim=1)
        self.level = level
        return torch.ones_like(self.z)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_network_reads_the_variance_preserving_velocity_and_corrects_it_by_what_it_says(kind):
    """With the true picture as the base's answer the velocity is alpha noise - beta x0, of unit scale everywhere."""
    sigma, x0, noise = torch.tensor(SIGMA[kind]), drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    x, seen = add_noise(x0, noise, sigma, kind), Recording()
    alpha, beta, scale = (value.view(-1, 1, 1, 1) for value in signal_and_noise(sigma, kind))
    domain = corrected(seen, x, sigma, x0, kind)
    torch.testing.assert_close(seen.velocity, alpha * noise - beta * x0, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close((alpha * seen.z - domain) / beta, seen.velocity - 1, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(domain - x0, beta.expand_as(x0))


def test_a_flow_model_is_a_noise_model_at_the_same_signal_and_noise(network):
    """x_flow = (1 - s) x, sigma_flow = s, of the noise model's x at sigma = s / (1 - s): one latent, one correction."""
    share = torch.tensor([0.1, 0.5, 0.9])
    sigma, x, reference = share / (1 - share), drawn(3, 3, 16, 16), drawn(3, 3, 16, 16, seed=1)
    flow = corrected(network, (1 - share).view(-1, 1, 1, 1) * x, share, reference, "flow")
    torch.testing.assert_close(flow, corrected(network, x, sigma, reference, "epsilon"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_output_of_a_prediction_is_the_inverse_of_the_prediction_of_an_output(kind):
    sigma, x, prediction = torch.tensor(SIGMA[kind]), drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    torch.testing.assert_close(
        denoised(output_of(prediction, x, sigma, kind), x, sigma, kind), prediction, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_loss_weight_is_the_stated_one_of_the_denoised_prediction_whatever_the_network_puts_out(kind):
    """min(1 + r^2, 10) / min(r^2, 200) of the denoised error, r the noise over signal."""
    sigma, x0, noise = torch.tensor(SIGMA[kind]), drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    x, answer = add_noise(x0, noise, sigma, kind), drawn(3, 3, 4, 4, seed=2)
    error = (answer - training_target(x0, noise, sigma, kind)).square().flatten(1).mean(1)
    true = (denoised(answer, x, sigma, kind) - x0).square().flatten(1).mean(1)
    ratio = sigma / (1 - sigma) if kind == "flow" else sigma
    power = ratio.square().clamp(max=1e12)
    expected = (1 + power).clamp(max=10) / power.clamp(max=200)
    torch.testing.assert_close(loss_weight(kind)(sigma) * error, expected * true, rtol=2e-3, atol=1e-5)


def test_an_untrained_network_corrects_nothing_not_even_a_rounding():
    fresh, x, reference = make_network(shape_for(4, 16, 16), 3), drawn(2, 4, 16, 16), drawn(2, 4, 16, 16, seed=1)
    assert torch.equal(corrected(fresh, x, torch.tensor([0.1, 9.0]), reference, "epsilon"), reference)


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "latent, expected",
    [
        ((3, 16, 16), (3, 32, 2)),
        ((4, 64, 64), (4, 32, 4)),
        ((4, 96, 96), (4, 32, 4)),
        ((16, 128, 128), (16, 64, 5)),
        ((48, 40, 64), (48, 128, 3)),
        ((4, 4, 4), (4, 32, 1)),
    ],
)
def test_width_grows_with_the_channels_and_levels_with_the_resolution(latent, expected):
    assert shape_for(*latent) == SideShape(*expected)


@pytest.mark.parametrize("size", [(16, 16), (13, 13), (8, 24), (1, 1), (33, 7)])
def test_it_works_at_other_sizes_than_it_was_made_for(network, size):
    x, reference, sigma = drawn(2, 3, *size), drawn(2, 3, *size, seed=1), torch.tensor([0.5, 5.0])
    domain = corrected(network, x, sigma, reference, "epsilon")
    assert domain.shape == x.shape and domain.isfinite().all() and not torch.equal(domain, reference)


def test_a_video_is_its_frames(network):
    x, reference, sigma = drawn(2, 3, 5, 8, 8), drawn(2, 3, 5, 8, 8, seed=1), torch.tensor([0.5, 5.0])
    whole = corrected(network, x, sigma, reference, "epsilon")
    for frame in range(5):
        alone = corrected(network, x[:, :, frame], sigma, reference[:, :, frame], "epsilon")
        torch.testing.assert_close(whole[:, :, frame], alone)


def test_a_picture_does_not_see_its_neighbours_in_the_batch(network):
    x, reference, sigma = drawn(3, 3, 16, 16), drawn(3, 3, 16, 16, seed=1), torch.tensor([0.5, 5.0, 1.0])
    whole = corrected(network, x, sigma, reference, "epsilon")
    torch.testing.assert_close(whole[1:2], corrected(network, x[1:2], sigma[1:2], reference[1:2], "epsilon"))


def test_making_one_draws_nothing_from_the_global_generator_and_a_seed_is_one_network():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (make_network(shape_for(3, 16, 16), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    weights = [made.first.weight for made in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


# --- guidance --------------------------------------------------------------------------------------------------------


class Base:
    """A denoiser whose condition is a number; it counts."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, sigma, conditioning):
        self.calls.append(conditioning)
        return 0.5 * x + conditioning


def guided(network, **changed):
    base = Base()
    return base, SideGuidedDenoiser(base, network, "epsilon", empty=0.1, **{"weight": 1.5, "cfg": 4.0, **changed})


@pytest.mark.parametrize(
    "conditioning, changed, calls", [(0.7, {}, 2), (None, {}, 1), (0.7, {"cfg": 1.0}, 1), (0.7, {"cfg": 0.0}, 1)]
)
def test_guidance_by_a_side_network_evaluates_the_base_no_more_than_plain_cfg(network, conditioning, changed, calls):
    base, denoise = guided(network, **changed)
    denoise(drawn(2, 3, 16, 16), torch.tensor([1.0, 1.0]), conditioning)
    assert len(base.calls) == calls


@pytest.mark.parametrize("conditioning", [0.7, None])
def test_it_is_the_general_form_with_the_side_networks_prediction_in_the_domains_place(network, conditioning):
    """Against `GuidedDenoiser`, which knows nothing of side networks."""
    x, sigma = drawn(2, 3, 16, 16), torch.tensor([1.0, 1.0])
    base, denoise = guided(network)
    plain = Base()

    def domain(x, sigma, _):
        return corrected(network, x, sigma, plain(x, sigma, 0.1), "epsilon")

    expected = GuidedDenoiser(plain, domain, 0.1, None, 1.5, 4.0)(x, sigma, conditioning)
    torch.testing.assert_close(denoise(x, sigma, conditioning), expected)


def test_weight_zero_and_an_untrained_network_are_plain_guidance_bit_for_bit(network):
    x, sigma = drawn(2, 3, 16, 16), torch.tensor([1.0, 1.0])
    plain = GuidedDenoiser(Base(), Base(), 0.1, 0.1, 0.0, 4.0)(x, sigma, 0.7)
    assert torch.equal(guided(network, weight=0.0)[1](x, sigma, 0.7), plain)
    assert torch.equal(guided(make_network(shape_for(3, 16, 16), 0))[1](x, sigma, 0.7), plain)


def test_it_reads_the_prompts_prediction_where_that_is_asked_for(network):
    x, sigma = drawn(2, 3, 16, 16), torch.tensor([1.0, 1.0])
    _, empty = guided(network)
    _, prompted = guided(network, reads_prompt=True)
    base = Base()
    plain = base(x, sigma, 0.1) + 4.0 * (base(x, sigma, 0.7) - base(x, sigma, 0.1))
    for denoise, read in ((empty, base(x, sigma, 0.1)), (prompted, base(x, sigma, 0.7))):
        expected = plain + 1.5 * (corrected(network, x, sigma, read, "epsilon") - read)
        torch.testing.assert_close(denoise(x, sigma, 0.7), expected)


# --- the file --------------------------------------------------------------------------------------------------------

SPACE = LatentSpace(3, 0.18215, 0.0, "SD15")


@pytest.fixture
def written(tmp_path, network):
    path = tmp_path / "plates.safetensors"
    write_side_file(path, network, card=tiny_side.CARD, latents=SPACE, empty=tiny_side.EMPTY, covers=[b"picture"])
    return path


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_a_file_brings_back_network_card_latent_space_and_empty_prompt(written, network):
    file = read_side_file(written)
    state = network.state_dict()
    assert all(torch.equal(value, state[name].half().float()) for name, value in file.network.state_dict().items())
    assert file.network.shape == network.shape and file.latents == SPACE
    assert torch.equal(file.empty.cross_attn, tiny_side.EMPTY.cross_attn) and file.empty.pooled_output is None
    assert replace(file.card, fingerprint="") == tiny_side.CARD and file.card.fingerprint
    assert read_card(written) == file.card and is_side_file(written)
    assert json.loads(metadata_of(written)["ssmd_cover_images"])
    assert not any(parameter.requires_grad for parameter in file.network.parameters())


def test_a_file_of_a_toy_size_is_smaller_than_a_megabyte(written):
    assert written.stat().st_size < 1_000_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(written, network, value):
    tensors = load_file(written)
    tensors[f"{PREFIX}first.bias"][0] = value
    save_file(tensors, written, metadata_of(written))
    with pytest.raises(DomainFileError, match="first.bias' of 'plates.safetensors' holds NaN or infinity"):
        read_side_file(written)
    with torch.no_grad():
        network.first.bias[0] = value
    before = written.read_bytes()
    with pytest.raises(DomainFileError, match="holds NaN or infinity"):
        write_side_file(written, network, card=tiny_side.CARD, latents=SPACE, empty=tiny_side.EMPTY)
    assert written.read_bytes() == before


def test_a_truncated_file_is_refused(written):
    written.write_bytes(written.read_bytes()[:-100])
    with pytest.raises(DomainFileError, match="'plates.safetensors' is not a complete safetensors file"):
        read_side_file(written)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tensors, described: tensors.popitem(), "are not those of the side network that it describes"),
        (lambda tensors, described: described["shape"].update(width=64), "are not those of the side network"),
        (lambda tensors, described: described["shape"].update(width=10**9), "description .* is damaged"),
        (lambda tensors, described: described["shape"].update(levels=2.0), "description .* is damaged"),
        (lambda tensors, described: described["shape"].update(depth=1), "description .* is damaged"),
        (lambda tensors, described: described["latents"].update(channels=4), "latents have 4 channels"),
        (lambda tensors, described: described.pop("latents"), "description .* is damaged"),
        (lambda tensors, described: described["shape"].update(width=1024, levels=6), "are not those"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(written, change, message):
    tensors, metadata = load_file(written), metadata_of(written)
    described = json.loads(metadata[METADATA_KEY])
    change(tensors, described)
    save_file(tensors, written, {**metadata, METADATA_KEY: json.dumps(described)})
    with pytest.raises(DomainFileError, match=message):
        read_side_file(written)


def test_another_kind_of_domain_is_refused_with_what_loads_it(tmp_path):
    path, card = tmp_path / "whole.safetensors", replace(tiny_side.CARD, form="text-based")
    write_domain_file(path, {"a": torch.ones(2, 2)}, card=card, cross_attn=torch.ones(1, 4, 8))
    assert not is_side_file(path)
    with pytest.raises(DomainFileError, match="expected a side network: load it with Load Domain UNet"):
        read_side_file(path)


def test_a_loader_of_whole_networks_names_the_node_that_loads_it(written):
    with pytest.raises(DomainFileError, match="is a side network.* load it with Load Side Network"):
        read_domain_file(written)


@pytest.mark.parametrize(
    "other, fits",
    [
        (LatentSpace(3, 0.18215, 0.0, "SD15"), True),
        (LatentSpace(3, 0.18215), True),
        (LatentSpace(3, 0.13025, 0.0, "SDXL"), False),
        (LatentSpace(3, 0.13025), False),
        (LatentSpace(3, 0.18215, 0.06), False),
        (LatentSpace(4, 0.18215, 0.0, "SD15"), False),
        (LatentSpace(3, 0.18215, 0.0, "Other"), False),
    ],
)
def test_one_latent_space_is_told_by_channels_scale_and_shift_and_by_its_name_where_both_have_one(other, fits):
    assert SPACE.fits(other) == other.fits(SPACE) == fits


def test_a_network_of_a_size_that_no_rule_gives_is_refused():
    for wrong in ((0, 32, 2), (3, 33, 2), (3, 32, 0), (3, 32, 9), (3, 4096, 2)):
        with pytest.raises(ValueError, match="give"):
            SideNetwork(SideShape(*wrong))


def test_a_networks_input_is_undone_before_it_is_corrected():
    from domain_guidance.side_networks.trainable import unscaled

    for kind in PREDICTIONS:
        x, sigma = drawn(3, 3, 4, 4), torch.tensor(SIGMA[kind])
        torch.testing.assert_close(unscaled(network_input(x, sigma, kind), sigma, kind), x)


def test_a_flow_models_first_level_may_round_to_above_one(network):
    """As at some shifts of ModelSamplingSD3: 1.0000001192 is pure noise, as 1 is."""
    x, reference = drawn(2, 3, 16, 16), drawn(2, 3, 16, 16, seed=1)
    above, one = torch.full((2,), 1 + 2**-23), torch.ones(2)
    found = corrected(network, x, above, reference, "flow")
    assert found.isfinite().all()
    torch.testing.assert_close(found, corrected(network, x, one, reference, "flow"), rtol=1e-6, atol=1e-6)
