"""However a training ends, what it learned is on disk, the host is as it was, and Run goes on from there."""

import gc
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import pytest
import torch
from host_process import PromptError
from messages import OUT_OF_MEMORY, DriverError, hearing
from safetensors.torch import load_file
from scenes import assert_one_sentence, build
from training_scenes import IMAGES, SIDE, Training, log_of, register, result_of, state_of

STEPS = 6
BEFORE = 3  # predictions before the first step: two of the probe, which looks at the network, and one for the estimate


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


def training(minis, name, **changes):
    return Training(minis, save_name=name, **{"steps": STEPS, "evaluate_every": 0, **changes})


@contextmanager
def at_step(number, act):
    """Calls `act` when the optimiser has made its `number`-th step; the list of all steps made."""
    made, original = [], torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        made.append(len(made) + 1)
        if len(made) == number:
            act()
        return result

    with patch.object(torch.optim.AdamW, "step", step):
        yield made


def cancel():
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()


def run_to_cancel(host, t):
    """Queue the graph; the host must say that it was interrupted, and hand out no result."""
    probe = t.graph.add("ProbeCapture", value=t.node)
    assert probe.id not in host.run(t.graph)
    assert "execution_interrupted" in [event for event, _ in host._executor.status_messages]


def saved_step(host, t, base_directory):
    from safetensors import safe_open

    with safe_open(str(state_of(t, base_directory)), "pt") as file:
        return int(file.metadata()["step"])


def assert_host_is_clean():
    import comfy.model_management

    assert comfy.model_management.in_training is False
    assert not comfy.model_management.processing_interrupted()


@pytest.fixture
def nothing_encoded(host, tmp_path):
    """A user folder without the latents that other tests have encoded."""
    import folder_paths

    usual = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield
    folder_paths.set_user_directory(usual)


@pytest.fixture
def uninterrupted(host, minis, base_directory):
    t = training(minis, "in one go")
    if not result_of(t, base_directory).exists():
        host.value(t.graph, t.node)
    return load_file(str(result_of(t, base_directory))), load_file(str(state_of(t, base_directory)))


def assert_equals(t, uninterrupted, base_directory):
    """Weights, averages, moments and result of the resumed run are those of the uninterrupted one, bit for bit."""
    files = (result_of(t, base_directory), state_of(t, base_directory))
    for path, expected in zip(files, uninterrupted):
        found = load_file(str(path))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_cancel_is_honoured_before_the_next_step_and_queue_again_goes_on(host, minis, base_directory, uninterrupted):
    t = training(minis, "cancelled")
    with at_step(3, cancel) as made:
        run_to_cancel(host, t)
    assert made == [1, 2, 3] and saved_step(host, t, base_directory) == 3
    assert not result_of(t, base_directory).exists()
    assert_host_is_clean()
    host.value(t.graph, t.node)
    assert_equals(t, uninterrupted, base_directory)


@pytest.mark.usefixtures("nothing_encoded")
def test_a_cancel_while_images_are_encoded_says_that_those_are_kept_and_they_are(host, minis):
    said, again = [], []

    def cancels_at_the_second(_):
        def say(line, slot=""):
            said.append(line)
            if len(said) == 2:
                cancel()

        return say

    t = training(minis, "cancelled early", steps=2)
    with patch.object(host.library("nodes.train"), "line_at", cancels_at_the_second):
        run_to_cancel(host, t)
    none, some, kept = said
    assert none == f"Encoded 0 of {IMAGES} images" and some.startswith("Encoded") and some != none
    assert (
        kept
        == "Cancelled while images were being encoded. Those already encoded are kept, and Run continues from there."
    )
    assert_host_is_clean()
    with patch.object(host.library("nodes.train"), "line_at", hearing(again)):
        host.value(t.graph, t.node)
    assert again[0] == ("state", some)


def test_a_cancel_in_the_middle_of_a_step_does_not_make_that_step(host, minis, base_directory):
    """Two batches a step: cancelled between them, the step is left out."""
    t = training(minis, "half a step", accumulation=2, batch_size=1)
    trainable = host.library("nodes.comfy_host.training.trainable").HostTrainable
    calls, original = [], trainable.predict

    def predict(self, *args):
        calls.append(1)
        if len(calls) == BEFORE + 5:  # two steps of two batches, and the first batch of the third step
            cancel()
        return original(self, *args)

    with patch.object(trainable, "predict", predict), at_step(0, cancel) as made:
        run_to_cancel(host, t)
    assert made == [1, 2] and saved_step(host, t, base_directory) == 2


def test_curves_that_cannot_be_written_do_not_fail_a_finished_training(host, minis, base_directory, caplog):
    t = training(minis, "finished without its curves", steps=2)
    place = state_of(t, base_directory).with_name("curve.png")
    place.mkdir(parents=True)  # a name that takes no file
    assert host.value(t.graph, t.node[1]).shape[-1] == 3
    assert result_of(t, base_directory).exists() and log_of(t, base_directory)
    (told,) = [line for line in caplog.messages if str(place) in line]
    assert "directory" in told and "result is complete" in told


def test_the_next_prompt_runs_after_a_cancel(host, minis):
    t = training(minis, "then another")
    with at_step(1, cancel):
        run_to_cancel(host, t)
    s = build(minis)
    assert torch.isfinite(host.samples(s.graph, s.sample(s.model), fresh=True)).all()


def test_more_steps_extend_a_finished_training(host, minis, base_directory, uninterrupted):
    short = training(minis, "extended", steps=2)
    host.value(short.graph, short.node)
    longer = training(minis, "extended")
    with at_step(0, cancel) as made:
        host.value(longer.graph, longer.node)
    assert len(made) == STEPS - 2
    assert_equals(longer, uninterrupted, base_directory)
    assert [line["step"] for line in log_of(longer, base_directory) if line["event"] == "step"] == list(
        range(1, STEPS + 1)
    )


def test_a_new_version_begins_anew_beside_the_old_one(host, minis, base_directory):
    for expected in ("versions.safetensors", "versions-2.safetensors"):
        t = training(
            minis, "versions", steps=1, on_existing="new version", learning_rate=1e-3 if "-2" in expected else 2e-3
        )
        assert host.value(t.graph, t.node[2], fresh=True) == expected
        assert (base_directory / "output" / "loras" / expected).exists()


OTHER = [
    partial(DriverError, "CUDA error: an illegal memory access was encountered"),
    partial(RuntimeError, "a broken cable"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY + OTHER, ids=["memory", "memory of the driver", "driver", "other"])
def test_an_exception_leaves_the_state_and_the_host_in_order(host, minis, base_directory, uninterrupted, error):
    t = training(minis, f"broken by {(OUT_OF_MEMORY + OTHER).index(error)}")

    def fail():
        raise error()

    with at_step(3, fail), pytest.raises(PromptError) as caught:
        host.value(t.graph, t.node)
    # The exception came out of the third step itself, which is half done: the state is the one before or none.
    assert_host_is_clean()
    if error in OUT_OF_MEMORY:
        assert_one_sentence(caught.value.message)
        assert "batch_size" in caught.value.message
    else:
        assert caught.value.message.strip() == str(error())
    host.value(t.graph, t.node)
    assert_equals(t, uninterrupted, base_directory)


def test_out_of_memory_between_steps_names_where_the_state_is(host, minis, base_directory, uninterrupted):
    t = training(minis, "out of memory")
    trainable = host.library("nodes.comfy_host.training.trainable").HostTrainable
    calls, original = [], trainable.predict

    def predict(self, *args):
        calls.append(1)
        if len(calls) == BEFORE + 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, *args)

    with patch.object(trainable, "predict", predict), pytest.raises(PromptError) as caught:
        host.value(t.graph, t.node)
    assert_one_sentence(caught.value.message)
    assert "step 3" in caught.value.message and "out of memory.training" in caught.value.message
    assert saved_step(host, t, base_directory) == 3
    host.value(t.graph, t.node)
    assert_equals(t, uninterrupted, base_directory)


@pytest.mark.usefixtures("nothing_encoded")
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_out_of_memory_in_the_vae_names_the_resolution_and_what_is_kept(host, minis, error):
    t = training(minis, "no room for the VAE")

    def encode(*_):
        raise error()

    with (
        patch.object(host.library("nodes.comfy_host.training.vae_posterior").Posteriors, "encode", encode),
        pytest.raises(PromptError) as caught,
    ):
        host.value(t.graph, t.node)
    assert_one_sentence(caught.value.message)
    assert (
        f"encoded images at resolution {SIDE}: lower resolution" in caught.value.message
        and "images encoded so far are kept" in caught.value.message
    )


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_a_picture_that_the_decoder_has_no_room_for_is_drawn_in_rough_colours(host, error):
    from comfy.latent_formats import SD15

    drawn, seen = host.library("nodes.comfy_host.training.preview").picture_of, torch.zeros(2, 4, 8, 8)

    class Full:
        def decode(self, latent):
            raise error()

    assert drawn(seen, SD15(), Full()).size == (16, 8)
    error_of_another_kind = patch.object(Full, "decode", side_effect=OTHER[0]())
    with error_of_another_kind, pytest.raises(DriverError, match="illegal memory access"):
        drawn(seen, SD15(), Full())


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_a_network_that_does_not_fit_whole_is_one_sentence(host, minis, error):
    import comfy.model_management

    s = build(minis)
    model = host.value(s.graph, s.model)
    with (
        patch.object(comfy.model_management, "load_models_gpu", side_effect=error()),
        pytest.raises(ValueError) as caught,
    ):
        host.library("nodes.comfy_host.training.trainable_copy").load_whole([model])
    assert_one_sentence(str(caught.value))
    assert "does not fit on the device as a whole" in str(caught.value)


def test_a_model_that_is_collected_while_others_leave_the_device_fails_nothing(host):
    """The host's own list loses its entry at that moment."""
    import comfy.model_management
    from comfy.model_patcher import ModelPatcher

    def loaded():
        patcher = ModelPatcher(torch.nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu"))
        comfy.model_management.load_models_gpu([patcher])
        return patcher

    comfy.model_management.unload_all_models()
    kept, forgotten = loaded(), loaded()
    # Garbage, once the name is gone. The host turns to what has fewer references first.
    forgotten.itself = [forgotten] * 20
    gc.disable()  # until the host has begun
    try:
        del forgotten
        with patch.object(kept, "detach", side_effect=lambda *args: gc.collect()) as began:
            host.library("nodes.comfy_host.training.trainable_copy").unload_all()
    finally:
        gc.enable()
    assert began.call_count == 1 and comfy.model_management.current_loaded_models == []


def test_what_the_driver_still_has_to_say_of_memory_that_ran_out_is_heard_before_the_next_prompt(host):
    import comfy.model_management

    module, heard = host.library("nodes.comfy_host.out_of_memory"), []
    with patch.object(comfy.model_management, "discard_cuda_async_error", lambda: heard.append(1)):
        for error in (*OUT_OF_MEMORY, *OTHER):
            with (
                pytest.raises(ValueError if error in OUT_OF_MEMORY else error.func),
                module.out_of_memory(lambda: "full"),
            ):
                raise error()
    assert heard == [1], "of the driver's own alone"


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_step(host, minis, base_directory):
    t = training(minis, "diverged", learning_rate=1e-3)
    trainable = host.library("nodes.comfy_host.training.trainable").HostTrainable
    calls, original = [], trainable.predict

    def predict(self, *args):
        calls.append(1)
        return original(self, *args) * (float("nan") if len(calls) == BEFORE + 3 else 1.0)

    with (
        patch.object(trainable, "predict", predict),
        pytest.raises(PromptError, match="step 3 is nan: lower the learning rate"),
    ):
        host.value(t.graph, t.node)
    assert saved_step(host, t, base_directory) == 2


def test_the_first_preview_comes_before_the_first_step(host, minis):
    """The bar's first picture is drawn by the untrained model."""
    import comfy.utils

    t, seen = training(minis, "shown", steps=2, preview_every=1), []
    with patch.object(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: seen.append((value, total, preview)),
    ):
        host.value(t.graph, t.node)
    pictures = [(value, preview[1].size) for value, total, preview in seen if preview]
    assert pictures == [(step, (640, 320 + 480)) for step in (0, 1, 2)], "two pictures, 128 by 64, above the curves"
    assert seen[-1][:2] == (2, 2)
