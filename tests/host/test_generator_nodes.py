"""The nodes of generators in the real host: pictures by seed, by latent and on a way, saving, blending, the toy world's
generator.
"""

import logging
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from generator_scenes import (
    SIDE,
    assert_alike,
    drawn,
    load,
    project,
    refused,
    sample,
    sheet,
    tiny,
    told,
    write_native,
    write_pair,
)
from messages import OUT_OF_MEMORY
from prompts import Graph
from safetensors import SafetensorError, safe_open
from scenes import assert_one_sentence


@pytest.fixture(scope="module")
def library(host):
    return host.library("domain_guidance.generators")


@pytest.fixture(scope="module")
def folder(base_directory):
    return base_directory / "models" / "generators"


@pytest.fixture(scope="module")
def native(host, base_directory):
    return write_pair(host, base_directory)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_the_librarys_and_batches_do_not_change_them(host, library, native, folder):
    generator = library.build_generator(library.read_generator_file(folder / native[0]))
    batch = drawn(host, native[0], seed=3, count=3)
    assert batch.shape == (3, SIDE, SIDE, 3) and batch.dtype == torch.float32
    for number in range(3):
        expected = generator(library.latents([3 + number], sheet.Z), psi=0.7)[0].clamp(-1, 1).movedim(0, -1) / 2 + 0.5
        torch.testing.assert_close(batch[number], expected, rtol=0, atol=1e-6)
        assert torch.equal(drawn(host, native[0], seed=3 + number, count=1)[0], batch[number])


def test_every_input_reaches_the_picture(host, native):
    plain = drawn(host, native[0])
    changed = [
        {"truncation": 1.0},
        {"truncation_cutoff": 2},
        {"mix_from": 3, "mix_seed": 9},
        {"noise": "none"},
        {"noise": "random"},
        {"interpolation": "spherical in z", "count": 3},
        {"interpolation": "linear in w", "count": 3, "loop": True},
        {"interpolation": "linear in w", "stops": 3, "count": 4},
    ]
    seen = [drawn(host, native[0], **change) for change in changed]
    for number, batch in enumerate(seen):
        assert all(batch.shape != other.shape or not torch.equal(batch, other) for other in (plain, *seen[:number])), (
            changed[number]
        )


def test_random_noise_is_the_same_again_for_the_same_seed(host, native):
    batch = drawn(host, native[0], noise="random", count=3)
    assert torch.equal(drawn(host, native[0], noise="random", seed=4, count=2), batch[1:])


def test_random_noise_is_of_the_seed_even_where_a_latent_is_drawn(host, native):
    graph = Graph()
    generator = load(graph, native[0])
    latent = sample(graph, generator, count=1)[1]
    one, other = (
        host.value(graph, sample(graph, generator, latent=latent, noise="random", seed=seed)) for seed in (1, 2)
    )
    assert not torch.equal(one, other)


def test_latents_drawn_by_another_generator_show_the_same_seeds(host, native):
    graph = Graph()
    source = sample(graph, load(graph, native[0]), count=3, mix_from=4, mix_seed=9)
    adapted = sample(graph, load(graph, native[1]), latent=source[1], seed=77, truncation=0.1, count=1)
    again = sample(graph, load(graph, native[0]), latent=source[1], seed=77)
    assert torch.equal(host.value(graph, again), host.value(graph, source))
    assert torch.equal(host.value(graph, adapted[1]).ws, host.value(graph, source[1]).ws)
    assert host.value(graph, adapted).shape[0] == 3
    assert not torch.equal(host.value(graph, adapted), host.value(graph, source))


def test_latents_of_a_generator_that_was_trained_apart_are_drawn_with_a_line_at_the_node(host, native, base_directory):
    stranger = write_native(host, base_directory, "stranger", tiny(seed=5))
    graph, said = Graph(), []
    latent = sample(graph, load(graph, native[0]), count=1)[1]
    with patch.object(host.library("nodes.sample_generator"), "line_at", lambda node_id: said.append):
        host.value(graph, sample(graph, load(graph, native[1]), latent=latent), fresh=True)
        assert said == []
        host.value(graph, sample(graph, load(graph, stranger), latent=latent), fresh=True)
    assert len(said) == 1 and "nothing in common" in said[0]
    assert_one_sentence(said[0])


def test_a_bar_runs_over_the_pictures_and_a_cancel_stops_it(host, native):
    import comfy.model_management
    import comfy.utils

    graph, calls = Graph(), []
    node = sample(graph, load(graph, native[0]), count=5)
    with patch.object(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: calls.append((value, total, preview)),
    ):
        host.value(graph, node, fresh=True)
    # The host leaves out what comes too soon after the last, and never the first or the end.
    assert (calls[0], calls[-1]) == ((1, 5, None), (5, 5, None)) and calls == sorted(set(calls))

    def cancel(value, total, preview, node_id=None):
        calls.append(value)
        comfy.model_management.interrupt_current_processing()

    calls.clear()
    with patch.object(comfy.utils, "PROGRESS_BAR_HOOK", cancel), pytest.raises(KeyError):
        host.value(graph, node, fresh=True)
    assert calls == [1]


def test_what_cannot_be_drawn_is_told_in_one_sentence(host, native, base_directory):
    larger = write_native(host, base_directory, "larger", sheet.nvidia_weights())
    graph = Graph()
    latent = sample(graph, load(graph, native[0]))[1]
    assert "styles" in refused(host, graph, sample(graph, load(graph, larger), latent=latent))
    assert "Label 0 was given" in refused(host, graph, sample(graph, load(graph, native[0]), class_label=0))
    assert "give 1 to 5" in refused(host, graph, sample(graph, load(graph, native[0]), mix_from=6))
    assert "latents" in refused(
        host, graph, sample(graph, load(graph, native[0]), latent=latent, interpolation="spherical in z")
    )


@contextmanager
def emptied_once():
    """Within the block every model leaves the device, once: the host does so for errors that it knows."""
    import comfy.model_management

    with patch.object(comfy.model_management, "unload_all_models") as unload:
        yield
    unload.assert_called_once_with()


def test_more_pictures_than_memory_are_refused_before_one_is_drawn(host, native):
    import comfy.model_management

    def free(size):
        def get_free_memory(device=None, torch_free_too=False):
            return (size, size) if torch_free_too else size

        return patch.object(comfy.model_management, "get_free_memory", get_free_memory)

    graph = Graph()
    node = sample(graph, load(graph, native[0]), count=5, seed=93)
    with free(5 * 16 * 16 * 3 * 4 - 1):
        assert "5 pictures of up to 16 x 16 pixels take" in refused(host, graph, node)
    with free(5 * 16 * 16 * 3 * 4):
        assert len(host.value(graph, node)) == 5


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_running_out_of_memory_is_told_in_one_sentence(host, native, error):
    library = host.library("domain_guidance.generators.stylegan2")
    graph = Graph()
    node = sample(graph, load(graph, native[0]), seed=91)
    with patch.object(library.Synthesis, "forward", side_effect=error()), emptied_once():
        assert "ran out of memory with a generator of 16 px: close other programs that use it" in refused(
            host, graph, node
        )


def test_the_device_is_asked_for_room_first_and_for_more_where_a_gradient_is_kept(host, native):
    import comfy.model_management

    asked = []
    graph = Graph()
    generator = load(graph, native[0])
    picture = sample(graph, generator, count=1, seed=92)
    with patch.object(
        comfy.model_management, "free_memory", lambda needed, device, *others, **more: asked.append((needed, device))
    ):
        host.value(graph, picture)
        host.value(graph, project(graph, generator, picture, steps=1))
    (drawing, device), (searching, _) = asked
    assert device == comfy.model_management.get_torch_device()
    assert searching > drawing > sum(tensor.nbytes for tensor in tiny().values())


def test_a_generator_that_needs_a_camera_is_refused_in_one_sentence(host, native, library):
    class Card:
        architecture = "eg3d"

    with pytest.raises(library.GeneratorFileError) as caught:
        host.library("domain_guidance.generators.drawing").check_flat(library.GeneratorFile(Card, {}))
    assert_one_sentence(str(caught.value))


# --- saving and blending ---------------------------------------------------------------------------------------------


def test_a_saved_generator_is_listed_draws_the_same_and_keeps_its_card(host, native, base_directory, library):
    graph = Graph()
    source = load(graph, native[0])
    names = [
        host.value(graph, graph.add("DomainGuidanceSaveGenerator", generator=source, name="mine"), fresh=True)
        for _ in range(2)
    ]
    assert names[0] == "mine.safetensors" and names[1] != names[0]
    assert_alike(drawn(host, names[0]), drawn(host, native[0]))
    path = base_directory / "output" / "generators" / names[0]
    assert library.read_generator_card(path) == host.value(graph, source).card
    with safe_open(str(path), "pt") as file:
        assert "first" in str(file.metadata())


@pytest.mark.parametrize("name", ["../outside", "", ".hidden", "a/b", "a\0b", "a" * 300, "what?", "aux.safetensors"])
def test_a_name_that_is_no_file_name_is_refused(host, native, name):
    graph = Graph()
    assert "name of a file" in refused(
        host, graph, graph.add("DomainGuidanceSaveGenerator", generator=load(graph, native[0]), name=name)
    )


def test_a_disk_that_takes_no_generator_is_told_in_one_sentence(host, native, base_directory):
    graph = Graph()
    node = graph.add("DomainGuidanceSaveGenerator", generator=load(graph, native[0]), name="on a full disk")
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with patch.object(host.library("domain_guidance.files.atomic_file"), "save_file", side_effect=full):
        message = refused(host, graph, node)
    assert (
        "No space left" in message
        and str(base_directory / "output" / "generators" / "on a full disk.safetensors") in message
    )
    assert " run " not in message, "nothing runs here"


def blended(graph, native, **changes):
    first, second = (load(graph, name) for name in native)
    return graph.add(
        "DomainGuidanceBlendGenerators", generator1=first, generator2=second, **{"fine_from": "8", **changes}
    )


def test_blends_at_their_ends_draw_what_the_two_draw(host, native):
    for amount, name in ((0.0, native[0]), (1.0, native[1])):
        graph = Graph()
        node = blended(graph, native, coarse_amount=amount, fine_amount=amount, mapping_amount=amount)
        assert torch.equal(host.value(graph, sample(graph, node)), drawn(host, name))


def test_the_inputs_of_a_blend_reach_the_library(host, native, library, folder):
    blend = host.library("domain_guidance.generators.blend")
    first, second = (library.read_generator_file(folder / name) for name in native)
    graph = Graph()
    made = host.value(
        graph, blended(graph, native, fine_from="8", coarse_amount=0.1, fine_amount=0.9, width=0.5, mapping_amount=0.3)
    )
    amounts = blend.block_amounts(first.card.config, fine_from=8, coarse=0.1, fine=0.9, width=0.5)
    expected = blend.blend(first, second, amounts, 0.3)
    assert (
        all(torch.equal(made.weights[name], tensor) for name, tensor in expected.weights.items())
        and made.card == expected.card
    )
    listed = host.value(graph, blended(graph, native, amounts="0; 0.5, 1"))
    assert listed.card.training["blend"]["amounts"] == [0.0, 0.5, 1.0]


def test_strangers_are_blended_with_a_warning_and_relatives_without(host, native, base_directory, caplog):
    stranger = write_native(host, base_directory, "stranger", tiny(seed=9))
    for pair, count in ((native, 0), ((native[0], stranger), 1)):
        caplog.clear()
        graph = Graph()
        with caplog.at_level(logging.WARNING):
            host.value(graph, blended(graph, pair), fresh=True)
        assert len(told(caplog)) == count
        for message in told(caplog):
            assert_one_sentence(message)


def test_generators_of_other_sizes_or_a_wrong_list_are_refused_in_one_sentence(host, native, base_directory):
    graph = Graph()
    assert "equal networks" in refused(
        host, graph, blended(graph, (native[0], write_native(host, base_directory, "larger", sheet.nvidia_weights())))
    )
    assert "3 numbers" in refused(host, graph, blended(graph, native, amounts="0, 1"))
    assert "not a number" in refused(host, graph, blended(graph, native, amounts="0, one, 1"))


def test_a_blend_of_small_generators_at_the_default_for_large_ones_is_refused_instead_of_doing_nothing(host, native):
    graph = Graph()
    assert "set fine_from to 16 or less" in refused(host, graph, blended(graph, native, fine_from="32"))
    for kept in ({"coarse_amount": 0.5, "fine_amount": 0.5}, {"width": 2.0}, {"amounts": "0, 0, 1"}):
        assert host.value(graph, blended(graph, native, fine_from="32", **kept)).card.training["blend"]["amounts"] != [
            0.0,
            0.0,
            0.0,
        ]


# --- the toy world's generator ---------------------------------------------------------------------------------------


def toy(graph):
    return graph.add("DomainGuidanceToyWorld", digit="any", stroke="any", ground="any", batch_size=1)[7]


def test_the_toy_worlds_generator_is_its_file_and_can_be_trained(host, library):
    graph = Graph()
    file = host.value(graph, toy(graph), fresh=True)
    stored = host.library("domain_guidance.toy_world.checkpoints").load_generator()
    assert file.card == stored.card
    assert all(
        torch.equal(file.weights[name], tensor) and not file.weights[name].is_inference()
        for name, tensor in stored.weights.items()
    )
