"""One run on real pictures: what it tells, what it leaves on disk, and that it goes on exactly where it stopped."""

import dataclasses
import errno
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_training as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from domain_guidance import runs, training
from domain_guidance.data import Split
from domain_guidance.files import atomic_file
from domain_guidance.memory.estimate import check_fits, memory_estimate, whole_network_estimate
from domain_guidance.runs import Evaluated, Finished, OneProcess, Prepared, RunFileError, RunFiles, Sample, Saved, Step
from domain_guidance.runs.run_log import read_log
from domain_guidance.training import RunSettings, train_domain
from domain_guidance.training.held_out_loss import HeldOutLoss, Point, memorising


def events_of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def started(folder, trainable=None, **changed):
    files = RunFiles(folder, "run")
    return train_domain(
        trainable or tiny.TinyTrainable(), tiny.tiny_latents(folder), tiny.tiny_settings(**changed), files
    )


def same_tensors(one, other):
    one, other = load_file(one), load_file(other)
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def losses(folder, name="run"):
    return [line["loss"] for line in read_log(RunFiles(folder, name).log) if line["event"] == "step"]


@pytest.fixture
def unprivileged():
    """A folder that every user can reach; pytest's own are the user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def acting_unprivileged():
    """Root may write anywhere, so it steps down."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


# --- whose files are written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["hard links", "no hard links", "windows"])
def test_a_file_that_gets_the_runs_name_meanwhile_is_kept_under_the_next_free_one(
    tmp_path, monkeypatch, caplog, system
):
    if system != "hard links":
        monkeypatch.setattr(atomic_file, "os", other_system(system))
    result = RunFiles(tmp_path, "run").result
    with closing(started(tmp_path, steps=10)) as events:
        for event in events:
            if isinstance(event, Saved) and event.step == 5:
                result.write_bytes(b"theirs")
                result.with_name("run-2.safetensors").write_bytes(b"theirs too")
    assert result.with_name("run-3.safetensors").read_bytes() == b"theirs"
    assert result.with_name("run-2.safetensors").read_bytes() == b"theirs too"
    assert load_file(result) and "is kept as 'run-3.safetensors'" in caplog.text


def test_a_file_that_comes_while_the_result_is_written_is_kept_as_well(tmp_path, caplog):
    result = RunFiles(tmp_path, "run").result

    class Raced(tiny.TinyTrainable):
        def write(self, path, record):
            super().write(path, record)
            if Path(path).name == result.name:
                result.write_bytes(b"theirs")

    tiny.run_tiny(tmp_path, trainable=Raced(), steps=2)
    assert result.with_name("run-2.safetensors").read_bytes() == b"theirs" and load_file(result)
    assert "is kept as 'run-2.safetensors'" in caplog.text
    assert not (RunFiles(tmp_path, "run").run_folder / "new").exists()


def other_system(system):
    """`os` as it is on Windows, or on a file system without hard links."""

    def rename(source, target):
        if os.path.exists(target) and not os.path.samefile(source, target):
            raise FileExistsError(errno.EEXIST, "there already")
        os.rename(source, target)

    def refuse_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    changed = {"name": "nt", "rename": rename} if system == "windows" else {"link": refuse_links}
    return SimpleNamespace(**{**vars(os), **changed})


@pytest.mark.parametrize("system", ["hard links", "no hard links", "windows"])
def test_a_file_is_never_given_the_name_that_it_has(tmp_path, monkeypatch, system):
    if system != "hard links":
        monkeypatch.setattr(atomic_file, "os", other_system(system))
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        atomic_file.give_free_name(path, path)
    assert path.read_bytes() == b"theirs"


def test_a_run_that_goes_on_replaces_its_own_results_and_no_other(tmp_path, caplog):
    tiny.run_tiny(tmp_path, steps=10)
    first = RunFiles(tmp_path, "run").result.read_bytes()
    tiny.run_tiny(tmp_path, steps=20)
    files = RunFiles(tmp_path, "run")
    assert files.result.read_bytes() != first and "is kept as" not in caplog.text
    assert {path.name for path in tmp_path.glob("run*.safetensors")} == {files.result.name, files.best.name}


def test_a_run_that_was_killed_before_its_first_state_knows_its_best_file(tmp_path, caplog):
    files = RunFiles(tmp_path, "run")
    with closing(started(tmp_path, steps=10, checkpoint_every=0)) as events:
        while not files.best.exists():
            next(events)
    files.state.unlink()  # which the end of the block has saved, and a kill would not
    tiny.run_tiny(tmp_path, steps=10)
    assert "is kept as" not in caplog.text and not files.best.with_name("run.best-2.safetensors").exists()


def test_a_run_of_an_earlier_version_replaces_its_results(tmp_path, caplog):
    tiny.run_tiny(tmp_path, steps=10)
    files = RunFiles(tmp_path, "run")
    (files.run_folder / "results.json").unlink()
    tiny.run_tiny(tmp_path, steps=20)
    assert "is kept as" not in caplog.text and not files.result.with_name("run-2.safetensors").exists()


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_run_lowers_the_held_out_loss_of_real_pictures_and_tells_it_in_order(tmp_path):
    events = tiny.run_tiny(tmp_path, steps=40, sample_every=20)
    assert isinstance(events[0], Prepared) and events[1] == Sample(0), "the untrained model is shown first"
    assert [event.step for event in events_of(Step, events)] == list(range(1, 41))
    measured = events_of(Evaluated, events)
    assert [event.step for event in measured] == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert measured[-1].held_out < 0.8 * measured[0].held_out
    assert [event.best for event in measured[1:]] == [
        min(e.held_out for e in measured[1 : n + 1]) for n in range(1, len(measured))
    ]
    assert [event.step for event in events_of(Saved, events)] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert [event.step for event in events_of(Sample, events)] == [0, 20, 40]
    files = RunFiles(tmp_path, "run")
    assert events[-1] == Finished(40, files.result, files.best)


def test_before_the_first_step_it_says_what_is_used_and_what_memory_it_takes(tmp_path):
    prepared = tiny.run_tiny(tmp_path)[0]
    for words in ("20 steps", "40 images used", "4 of 40 images are held out", "MiB of memory"):
        assert words in prepared.message
    numbers = 8 * 4 * 9 + 8 + 3 * 8 * 9 + 3
    assert (prepared.memory.gradients, prepared.memory.optimizer, prepared.memory.average) == (
        4 * numbers,
        8 * numbers,
        4 * numbers,
    )
    assert prepared.memory.weights == 4 * (numbers + 1)
    # Of four images, at least the input of each convolution: 4 and 8 channels of 16 x 16 in fp32.
    assert prepared.memory.activations >= 4 * 12 * 256 * 4


def test_the_result_is_the_average_of_the_last_step_and_the_best_that_of_the_lowest_held_out_loss(tmp_path):
    trainable, averages = tiny.TinyTrainable(), {}
    # The rate grows until the loss does.
    for event in started(tmp_path, trainable, steps=30, learning_rate=2.0, warmup=60, sample_every=5):
        if isinstance(event, Sample):
            averages[event.step] = {name: value.clone() for name, value in trainable.module.state_dict().items()}
    measured = {
        line["step"]: line["held_out"]
        for line in read_log(RunFiles(tmp_path, "run").log)
        if line["event"] == "evaluated"
    }
    best = min((step for step in measured if step), key=measured.get)
    assert 0 < best < 30, "the test needs a run whose end is not its best"
    for path, step in ((RunFiles(tmp_path, "run").best, best), (RunFiles(tmp_path, "run").result, 30)):
        written = load_file(path)
        assert all(torch.equal(written[name], averages[step][name]) for name in written)
    assert trainable.records[-1][0] == "run.safetensors"
    record = trainable.records[-1][1]
    assert (record["trained_steps"], record["images"], record["held_out_images"]) == (30, 36, 4)
    assert record["held_out_loss"] == measured[30]
    json.dumps(record)


def test_the_log_holds_every_step_as_one_json_object_a_line(tmp_path):
    events = tiny.run_tiny(tmp_path)
    lines = [json.loads(line) for line in RunFiles(tmp_path, "run").log.read_text().splitlines()]
    assert [(line["step"], line["loss"], line["learning_rate"]) for line in lines if line["event"] == "step"] == [
        dataclasses.astuple(event) for event in events_of(Step, events)
    ]
    assert {line["event"] for line in lines} == {"prepared", "step", "evaluated", "saved", "finished"}


def test_with_too_few_images_to_hold_out_there_is_no_second_curve_and_no_best_file(tmp_path):
    files = RunFiles(tmp_path, "run")
    events = list(train_domain(tiny.TinyTrainable(), tiny.tiny_latents(tmp_path, count=5), tiny.tiny_settings(), files))
    assert not events_of(Evaluated, events) and events[-1] == Finished(20, files.result, None)
    assert "no held-out loss" in events[0].message


# --- the curves ------------------------------------------------------------------------------------------------------


def test_the_held_out_loss_is_a_function_of_the_weights_alone_however_images_are_batched(tmp_path):
    latents, trainable = tiny.tiny_latents(tmp_path), tiny.TinyTrainable()
    division = training.domain_run.split([image.key for image in latents.images])
    points = []
    for batch_size in (1, 3, 4):
        torch.manual_seed(batch_size)
        points.append(HeldOutLoss(trainable, latents, division, batch_size).measure(7, trainable.predict, OneProcess()))
    numbers = [(point.step, point.train, point.held_out, *point.each) for point in points]
    assert len(numbers[0]) > 3 and numbers[1:] == [pytest.approx(numbers[0], rel=1e-6)] * 2
    trainable.module.last.bias.data += 0.1
    assert HeldOutLoss(trainable, latents, division, 1).measure(7, trainable.predict, OneProcess()) != points[0]


def measured_at(latents, trainable, by="content"):
    division = training.domain_run.split([image.key for image in latents.images])
    loss = HeldOutLoss(trainable, latents, division, batch_size=4, images_a_step=4, by=by)
    return loss.measure(7, trainable.predict, OneProcess())


def test_names_and_order_of_the_images_have_no_part_in_the_held_out_loss(tmp_path):
    images = tiny.pictures(200).images
    there, back = (
        tiny.tiny_latents(tmp_path / name, source=tiny.BatchImages([image[None] for image in order]))
        for name, order in (("there", images), ("back", images[::-1]))
    )
    assert there.fingerprint == back.fingerprint, "a run on the one goes on on the other"
    assert len(measured_at(there, tiny.TinyTrainable()).each) == 16, "a part of the held-out images"
    assert measured_at(there, tiny.TinyTrainable()) == measured_at(back, tiny.TinyTrainable())


def test_every_held_out_image_is_measured_in_each_quarter_of_the_schedule(tmp_path):
    latents, trainable = tiny.tiny_latents(tmp_path), tiny.TinyTrainable()
    division = training.domain_run.split([image.key for image in latents.images])
    seen = []

    def predict(noisy, timestep, conditioning):
        seen.extend(timestep.tolist())
        return noisy

    HeldOutLoss(trainable, latents, division, 4).measure(1, predict, OneProcess())
    quarters = torch.tensor(seen).div(250, rounding_mode="floor").bincount(minlength=4)
    assert quarters.tolist() == [8, 8, 8, 8], "4 held-out and 4 training images, once in each quarter"
    assert len(set(seen)) > 24


def test_a_measurement_takes_fewer_images_where_a_step_has_few(tmp_path):
    latents, trainable = tiny.tiny_latents(tmp_path), tiny.TinyTrainable()
    division = Split(tuple(range(8)) * 10, tuple(range(8)) * 10, "")

    def measured(images_a_step):
        seen = []

        def predict(noisy, timestep, conditioning):
            seen.append(len(noisy))
            return noisy

        HeldOutLoss(trainable, latents, division, 4, images_a_step).measure(1, predict, OneProcess())
        return sum(seen) // (2 * 4)  # both sides, four quarters

    assert [measured(images) for images in (1, 5, 32)] == [16, 20, 64]


@pytest.mark.parametrize(
    "points, says",
    [
        ([(0, 1.0, 1.0), (10, 0.8, 0.85), (20, 0.6, 0.8)], False),  # the gap widens but the held-out loss still falls
        ([(0, 1.0, 1.0), (10, 0.8, 0.85), (20, 0.6, 0.9)], True),
        (
            [(0, 1.0, 1.0), (10, 0.80, 0.85), (20, 0.81, 0.86)],
            False,
        ),  # both rise: not memory but noise or too high a rate
        ([(0, 1.0, 1.2), (10, 0.8, 1.0), (20, 0.81, 1.01)], False),  # the held-out images are merely harder
    ],
)
def test_memorising_is_said_when_the_gap_widens_past_the_best_held_out_loss(points, says):
    said = memorising([of_images(*values) for values in points])
    assert bool(said) == says
    if says:
        assert "memorising: since step 10" in said and "16 held-out images has grown by 5.9%" in said


def of_images(step, train, held_out, count=16, spread=0.0):
    """A measurement whose images lie `spread` to either side of the mean, in an order that turns with the step."""
    return Point(step, train, held_out, tuple(held_out + spread * (-1) ** (n + step // 10) for n in range(count)))


@pytest.mark.parametrize(
    "count, spread, last, says",
    [
        (16, 0.02, 0.9, True),
        (4, 0.0, 0.9, False),  # no verdict from four pictures
        (16, 0.2, 0.9, False),  # single pictures change by more than their mean
    ],
)
def test_memorising_has_a_statistical_footing(count, spread, last, says):
    values = [(0, 1.0, 1.0), (10, 0.8, 0.85), (20, 0.6, last)]
    assert bool(memorising([of_images(*value, count, spread) for value in values])) == says


def test_a_run_on_pictures_that_have_nothing_in_common_is_told_that_it_memorises(tmp_path, monkeypatch):
    # Eight of the sixteen, as of eighty: of so many a network that holds one picture would learn none by heart.
    monkeypatch.setattr("domain_guidance.data.held_out.AT_LEAST", 8)

    class OnePicture(nn.Module):
        """The ideal denoiser of one picture, which it learns: for pictures of noise the mean of those it was shown."""

        def __init__(self):
            super().__init__()
            self.picture = nn.Parameter(torch.zeros(3, 16, 16))

        def forward(self, noisy, timestep):
            sigma = tiny.TinyTrainable.schedule.sigma(timestep).view(-1, 1, 1, 1)
            return (noisy * (sigma**2 + 1).sqrt() - self.picture) / sigma

    noise = tiny.BatchImages(torch.rand(16, 16, 16, 3, generator=torch.Generator().manual_seed(0)))
    latents, settings = (
        tiny.tiny_latents(tmp_path, source=noise),
        tiny.tiny_settings(steps=60, learning_rate=0.02, mirror=0.0),
    )
    events = list(train_domain(tiny.TinyTrainable(OnePicture()), latents, settings, RunFiles(tmp_path, "run")))
    assert "memorising: since step 0" in events_of(Evaluated, events)[-1].memorising


# --- exact resuming --------------------------------------------------------------------------------------------------


def run_elsewhere(folder, kill_at=0, total=20):
    """A run in a process of its own; more threads round otherwise, so all that are compared are made this way."""
    command = [sys.executable, Path(tiny.__file__), folder, str(total), str(kill_at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (-9 if kill_at else 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no SIGKILL here")
@pytest.mark.parametrize("step", [10, 13])
def test_twenty_steps_equal_ten_a_kill_and_ten_more_bit_for_bit(tmp_path, step):
    run_elsewhere(tmp_path / "whole")
    run_elsewhere(tmp_path / "killed", kill_at=step)
    saved = load_file(RunFiles(tmp_path / "killed", "run").state)
    assert int(saved["optimizer.step.first.weight"]) == {10: 5, 13: 10}[step], "killed before the save of its own step"
    run_elsewhere(tmp_path / "killed")
    whole, killed = (RunFiles(tmp_path / kind, "run") for kind in ("whole", "killed"))
    for name in ("state", "result", "best"):
        assert same_tensors(getattr(whole, name), getattr(killed, name)), name
    assert runs.state.read_record(whole.state) == runs.state.read_record(killed.state)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed"), (
        "the same images, noise and timesteps, step by step"
    )


def test_the_saved_state_holds_weights_averages_moments_and_their_step():
    wanted = {
        f"{kind}.{name}"
        for kind in ("parameter", "average", "optimizer.exp_avg", "optimizer.exp_avg_sq", "optimizer.step")
        for name in ("first.weight", "first.bias", "last.weight", "last.bias")
    }
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tiny.run_tiny(Path(folder), steps=3)
        assert set(load_file(RunFiles(Path(folder), "run").state)) == wanted


@pytest.mark.parametrize(
    "changed", [{"precision": "bf16"}, {"precision": "fp16"}, {"accumulation": 2}, {"cosine": True, "min_snr": 5.0}]
)
@pytest.mark.parametrize("event", [Step(7, 0, 0), Evaluated(10, 0, 0, 0), Saved(Path(), 10), Sample(10)])
def test_a_run_that_was_left_after_any_event_ends_as_the_uninterrupted_one(tmp_path, changed, event):
    tiny.run_tiny(tmp_path / "whole", sample_every=5, **changed)
    with closing(started(tmp_path / "left", sample_every=5, **changed)) as events:
        for heard in events:
            if type(heard) is type(event) and heard.step == event.step:
                break
    tiny.run_tiny(tmp_path / "left", sample_every=5, **changed)
    assert same_tensors(RunFiles(tmp_path / "whole", "run").state, RunFiles(tmp_path / "left", "run").state)
    assert same_tensors(RunFiles(tmp_path / "whole", "run").best, RunFiles(tmp_path / "left", "run").best)
    assert losses(tmp_path / "whole") == losses(tmp_path / "left")


def test_fp16s_loss_scale_is_resumed_as_well(tmp_path):
    class Loud(tiny.TinyTrainable):
        def predict(self, noisy, timestep, conditioning):  # its gradient overflows until the scale has come down
            return 300 * super().predict(noisy, timestep, conditioning)

    for kind, parts in (("whole", (20,)), ("parts", (10, 20))):
        for steps in parts:
            tiny.run_tiny(tmp_path / kind, trainable=Loud(), precision="fp16", steps=steps)
    whole, parts = (RunFiles(tmp_path / kind, "run").state for kind in ("whole", "parts"))
    assert 1 < runs.state.read_record(whole)["scaling"]["scale"] < 2**16
    assert runs.state.read_record(whole) == runs.state.read_record(parts) and same_tensors(whole, parts)


def test_more_steps_extend_a_finished_run_as_if_they_had_been_asked_for_at_once(tmp_path):
    tiny.run_tiny(tmp_path / "whole", steps=20)
    tiny.run_tiny(tmp_path / "extended", steps=12)
    tiny.run_tiny(tmp_path / "extended", steps=20)
    assert same_tensors(*(RunFiles(tmp_path / kind, "run").state for kind in ("whole", "extended")))
    assert losses(tmp_path / "whole") == losses(tmp_path / "extended")


def test_queueing_a_finished_run_again_makes_no_step_and_the_same_file(tmp_path):
    tiny.run_tiny(tmp_path)
    before = RunFiles(tmp_path, "run").result.read_bytes()
    again = tiny.run_tiny(tmp_path)
    assert not events_of(Step, again) and isinstance(again[-1], Finished)
    assert RunFiles(tmp_path, "run").result.read_bytes() == before


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"learning_rate": 1e-3}, "learning_rate was 0.01 and is 0.001"),
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"batch_size": 3}, "images a step was 4 and is 3"),
        ({"precision": "bf16"}, "precision was fp32 and is bf16"),
        ({"time_sampling": "logit-normal"}, "time_sampling was uniform and is logit-normal"),
    ],
)
def test_resuming_with_other_settings_names_the_difference_and_leaves_the_state_alone(tmp_path, changed, words):
    tiny.run_tiny(tmp_path)
    before = RunFiles(tmp_path, "run").state.read_bytes()
    with pytest.raises(
        ValueError,
        match=f"cannot be resumed: {words}. Change the setting back, choose another name, or start a new version",
    ):
        tiny.run_tiny(tmp_path, **{"steps": 30, **changed})
    assert RunFiles(tmp_path, "run").state.read_bytes() == before


def test_resuming_on_other_images_or_another_form_is_refused(tmp_path):
    tiny.run_tiny(tmp_path)
    with pytest.raises(ValueError, match="cannot be resumed: images, their sizes or the VAE changed"):
        list(
            train_domain(
                tiny.TinyTrainable(),
                tiny.tiny_latents(tmp_path, seed=1),
                tiny.tiny_settings(),
                RunFiles(tmp_path, "run"),
            )
        )
    other = tiny.TinyTrainable()
    other.identity = {"form": "adapter"}
    with pytest.raises(ValueError, match="form was tiny and is adapter"):
        tiny.run_tiny(tmp_path, trainable=other)


def test_a_batch_may_be_cut_otherwise_when_a_run_goes_on(tmp_path):
    tiny.run_tiny(tmp_path, steps=5)
    tiny.run_tiny(tmp_path, steps=10, batch_size=2, accumulation=2)
    assert len(losses(tmp_path)) == 10


def test_a_run_of_an_earlier_version_goes_on_with_the_noise_that_it_was_measured_at(tmp_path):
    tiny.run_tiny(tmp_path, steps=5)
    latents, files = tiny.tiny_latents(tmp_path), RunFiles(tmp_path, "run")
    record = runs.state.read_record(files.state)
    assert record.pop("measured by") == "content"
    with safe_open(files.state, "pt") as file:
        metadata = {**file.metadata(), "record": json.dumps(record)}
    save_file(load_file(files.state), files.state, metadata)
    for steps in (10, 15):  # the state of the first knows how it was measured
        trainable = tiny.TinyTrainable()
        tiny.run_tiny(tmp_path, trainable=trainable, steps=steps)
        *_, last = runs.state.read_record(files.state)["points"]
        step, train, held_out, each = last
        assert Point(7, train, held_out, tuple(each)) == measured_at(latents, trainable, "position")
        assert step == steps and held_out != measured_at(latents, trainable).held_out


# --- how a run ends --------------------------------------------------------------------------------------------------


def test_after_a_cancel_no_further_step_is_made_and_the_state_of_the_last_one_is_on_disk(tmp_path):
    trainable, made = tiny.TinyTrainable(), []
    with pytest.raises(KeyboardInterrupt), closing(started(tmp_path, trainable, checkpoint_every=0)) as events:
        for event in events:
            made += events_of(Step, [event])
            if len(made) == 7:
                now = {name: value.clone() for name, value in trainable.module.state_dict().items()}
                raise KeyboardInterrupt  # a BaseException, as ComfyUI's interrupt
    assert len(made) == 7
    saved = load_file(RunFiles(tmp_path, "run").state)
    assert all(torch.equal(saved[f"parameter.{name}"], now[name]) for name in now if name != "frozen")
    assert int(saved["optimizer.step.last.bias"]) == 7


@pytest.mark.parametrize("problem", [torch.cuda.OutOfMemoryError("out of memory"), KeyboardInterrupt()])
def test_an_exception_inside_a_step_leaves_the_state_of_the_step_before(tmp_path, problem):
    trainable = tiny.TinyTrainable()
    with pytest.raises(type(problem)):
        for event in started(tmp_path, trainable, checkpoint_every=0, evaluate_every=0):
            if isinstance(event, Step) and event.step == 6:

                def fail(*_):
                    raise problem

                trainable.predict = fail
    assert int(load_file(RunFiles(tmp_path, "run").state)["optimizer.step.last.bias"]) == 6


def test_a_half_made_step_is_never_saved(tmp_path):
    trainable = tiny.TinyTrainable()
    calls = []

    def interrupt(*_):  # an interrupt between the optimiser's step and the average's
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Ema, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(started(tmp_path, trainable))
    assert int(load_file(RunFiles(tmp_path, "run").state)["optimizer.step.last.bias"]) == 5


def test_a_loss_that_is_nan_names_the_step_and_what_to_lower_and_keeps_the_last_good_state(tmp_path):
    trainable, net = tiny.TinyTrainable(), tiny.TinyNet()

    def diverges_at_the_eighth(noisy, timestep, conditioning):
        return trainable.module(noisy, timestep) * (math.nan if len(seen) == 7 else 1)

    seen = []
    trainable.predict = diverges_at_the_eighth
    with pytest.raises(FloatingPointError, match="loss of step 8 is nan: lower the learning rate"):
        for event in started(tmp_path, trainable, checkpoint_every=0, evaluate_every=0):
            seen += events_of(Step, [event])
    saved = load_file(RunFiles(tmp_path, "run").state)
    assert int(saved["optimizer.step.last.bias"]) == 7
    assert all(tensor.isfinite().all() for tensor in saved.values()) and net is not None


def test_a_folder_that_cannot_be_written_is_one_sentence_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    trainable = tiny.TinyTrainable()
    with pytest.raises(
        RunFileError, match="cannot be written to .*free some space or choose a folder.*nothing of the run is saved yet"
    ):
        list(
            train_domain(
                trainable, tiny.tiny_latents(tmp_path), tiny.tiny_settings(), RunFiles(tmp_path / "file" / "sub", "run")
            )
        )
    assert not trainable.records


def test_a_best_file_that_cannot_be_written_names_the_state_that_is_kept(tmp_path):
    trainable, written = tiny.TinyTrainable(), []

    def full_at_the_second(path, record):
        written.append(record["trained_steps"])
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainable.write = full_at_the_second
    with pytest.raises(RunFileError, match="No space left on device.*the state of step 1 is kept in"):
        list(started(tmp_path, trainable, checkpoint_every=1, evaluate_every=1))
    assert written == [1, 2] and int(load_file(RunFiles(tmp_path, "run").state)["optimizer.step.last.bias"]) >= 1


def test_a_best_file_that_could_not_be_written_is_written_when_the_run_goes_on(tmp_path):
    trainable, files = tiny.TinyTrainable(), RunFiles(tmp_path, "run")
    write = trainable.write

    def in_use_at_the_tenth(path, record):
        if record["trained_steps"] == 10:
            raise PermissionError(errno.EACCES, "in use")
        write(path, record)

    trainable.write = in_use_at_the_tenth
    with pytest.raises(RunFileError, match="in use"):
        list(started(tmp_path, trainable, steps=10))
    again = tiny.TinyTrainable()
    (measured,) = events_of(Evaluated, tiny.run_tiny(tmp_path, trainable=again, steps=10))
    assert measured.step == 10 and measured.held_out == measured.best, "the test needs a run that gets better"
    assert [(name, record["trained_steps"]) for name, record in again.records][0] == (files.best.name, 10)
    assert same_tensors(files.best, files.result), "both of step 10"


def test_a_disk_too_small_for_the_run_is_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(RunFileError, match="0.00 GB free and the run's files take up to 0.00 GB: free some space"):
        tiny.run_tiny(tmp_path)


def test_a_disk_that_gets_full_is_one_sentence_and_the_last_state_stays(tmp_path, monkeypatch):
    write, count = atomic_file.save_file, []

    def full_later(*arguments, **options):
        count.append(1)
        if len(count) > 2:
            raise OSError(28, "No space left on device")
        return write(*arguments, **options)

    monkeypatch.setattr("domain_guidance.files.atomic_file.save_file", full_later)
    with pytest.raises(RunFileError, match="No space left on device.*the state of step 5 is kept"):
        tiny.run_tiny(tmp_path)
    assert int(load_file(RunFiles(tmp_path, "run").state)["optimizer.step.last.bias"]) == 5
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="limits of a process are POSIX")
def test_a_write_that_the_system_itself_cuts_off_leaves_the_last_state_and_the_run_goes_on_from_it(tmp_path):
    """No stand-in: the kernel takes fewer bytes than the state has."""
    import resource

    tiny.run_tiny(tmp_path, "whole", steps=15)
    tiny.run_tiny(tmp_path, steps=5)
    state = RunFiles(tmp_path, "run").state
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (state.stat().st_size - 1, hard))
    try:
        with pytest.raises(RunFileError, match="File too large.*: free some space.*the state of step 5 is kept"):
            tiny.run_tiny(tmp_path, steps=15)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert int(load_file(state)["optimizer.step.last.bias"]) == 5
    assert not list(tmp_path.rglob("*.part"))
    tiny.run_tiny(tmp_path, steps=15)
    assert same_tensors(state, RunFiles(tmp_path, "whole").state)


def test_a_folder_that_may_only_be_read_is_one_sentence_before_the_first_step(unprivileged):
    folder = unprivileged / "output"
    folder.mkdir(mode=0o555)
    trainable, latents = tiny.TinyTrainable(), tiny.tiny_latents(unprivileged)
    with (
        acting_unprivileged(),
        pytest.raises(RunFileError, match="cannot be written to .*Permission denied.*nothing of the run is saved yet"),
    ):
        list(train_domain(trainable, latents, tiny.tiny_settings(), RunFiles(folder, "run")))
    assert not trainable.records


def test_only_what_no_setting_of_the_batch_can_spare_is_refused_and_the_setting_that_fits_is_named():
    net = nn.Linear(1000, 1000, bias=False)  # 4 MB of weights, 4 of gradients, 8 of moments, or 2 in eight bits
    estimate = memory_estimate(net, activations=10**9)
    assert (estimate.certain, estimate.total) == (16_000_000, 16_000_000 + 4_000_000 + 10**9)
    check_fits(estimate, 16_000_000)
    check_fits(estimate, None)
    with pytest.raises(
        ValueError,
        match="alone take 15.26 MiB and the device has 9.54 MiB: switch 8-bit AdamW on, or train the adapter form",
    ):
        check_fits(estimate, 10_000_000)
    with pytest.raises(ValueError, match="the device has 8.58 MiB: train the adapter form"):
        check_fits(estimate, 9_000_000)


@pytest.mark.parametrize("eight_bit_adam", [False, True])
def test_a_network_without_weights_or_in_half_precision_is_estimated_as_the_fp32_one_that_would_be_trained(
    eight_bit_adam,
):
    def network(**where):
        return nn.Sequential(nn.Linear(30, 20, **where), nn.BatchNorm1d(20, **where))

    trained = memory_estimate(network(), eight_bit_adam=eight_bit_adam)
    assert whole_network_estimate(network(device="meta"), eight_bit_adam=eight_bit_adam) == trained
    half = whole_network_estimate(network().half(), eight_bit_adam=eight_bit_adam)
    assert (half.gradients, half.optimizer, half.average) == (trained.gradients, trained.optimizer, trained.average)


# --- files -----------------------------------------------------------------------------------------------------------


def chosen(folder, name, on_existing):
    with RunFiles.claim(folder, name, on_existing) as files:
        return files.name


def test_a_new_version_takes_the_first_free_name_and_resume_the_same_one(tmp_path):
    assert chosen(tmp_path, "cats.safetensors", "new version") == "cats"
    tiny.run_tiny(tmp_path, name="cats", steps=1)
    assert chosen(tmp_path, "cats", "new version") == "cats-2"
    RunFiles(tmp_path, "cats-2").run_folder.mkdir()
    assert chosen(tmp_path, "cats", "new version") == "cats-3"
    assert chosen(tmp_path, "cats", "resume") == "cats"


def test_a_file_that_no_run_has_made_is_never_written_over(tmp_path):
    (tmp_path / "cats.safetensors").write_bytes(b"somebody's own")
    assert chosen(tmp_path, "cats", "resume") == "cats-2"
    RunFiles(tmp_path, "cats-2").run_folder.mkdir()
    assert chosen(tmp_path, "cats", "resume") == "cats-2", "that run is what goes on"


@pytest.mark.parametrize(
    "name",
    ["", "../cats", "a/b", "..", "a\\b", ".hidden", "a\0b", "a\nb", "a" * 201]
    + ["style: anime", "what?", "CON", "aux.safetensors"],
)
@pytest.mark.parametrize("on_existing", ["resume", "new version"])
def test_a_name_that_leaves_its_folder_or_that_a_system_cannot_have_is_refused(tmp_path, name, on_existing):
    with pytest.raises(RunFileError, match="cannot be the name of a file"):
        chosen(tmp_path, name, on_existing)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot have such a run")
@pytest.mark.parametrize("name", ["style: anime", "what?", "CON"])
def test_a_run_that_has_such_a_name_already_goes_on(tmp_path, name):
    tiny.run_tiny(tmp_path, name=name, steps=1)
    assert chosen(tmp_path, name, "resume") == name
    tiny.run_tiny(tmp_path, name=name, steps=2)
    assert int(load_file(RunFiles(tmp_path, name).state)["optimizer.step.last.bias"]) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot have such a run")
def test_a_run_that_has_such_a_name_already_gets_no_new_version_of_it(tmp_path):
    tiny.run_tiny(tmp_path, name="what?", steps=1)
    with pytest.raises(RunFileError, match=r"'what\?-2' cannot be .* because Windows does not allow '\?' in names"):
        chosen(tmp_path, "what?", "new version")


def test_a_link_to_nothing_is_not_a_free_name(tmp_path):
    (tmp_path / "cats.safetensors").symlink_to(tmp_path / "gone")
    assert chosen(tmp_path, "cats", "new version") == "cats-2"


def test_beside_the_models_lies_nothing_that_a_loader_would_list_as_one(tmp_path):
    tiny.run_tiny(tmp_path)
    listed = {path.name for path in tmp_path.rglob("*.safetensors") if "latents" not in path.parts}
    assert listed == {"run.safetensors", "run.best.safetensors"}


# --- bad settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"precision": "fp8"}, "precision is 'fp8': choose one of fp32, bf16, fp16"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulation": 0}, "accumulation is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"mirror": 2.0}, "mirror is 2.0"),
        ({"min_snr": -1.0}, "min_snr is -1.0: give 0 to turn it off, or a number above 0."),
        ({"min_snr": math.nan}, "min_snr is nan"),
        ({"evaluate_every": -1}, "evaluate_every is -1: give 0 to turn it off"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1: give 0 to turn it off"),
        ({"sample_every": -1}, "sample_every is -1: give 0 to turn it off"),
        ({"warmup": -1}, "warmup is -1: give 0 to turn it off"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1: give 0 to turn it off"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_sentence(changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        RunSettings(steps=1, **changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["min_snr", "evaluate_every", "checkpoint_every", "sample_every", "warmup", "weight_decay"]
)
def test_zero_turns_a_setting_off(name):
    assert getattr(RunSettings(steps=1, **{name: 0}), name) == 0


def test_weights_too_narrow_to_learn_are_refused(tmp_path):
    with pytest.raises(ValueError, match="to be trained are in bfloat16.*hold them in fp32.*or train the adapter form"):
        tiny.run_tiny(tmp_path, trainable=tiny.TinyTrainable(tiny.TinyNet().bfloat16()))


def test_a_trained_tensor_that_the_network_does_not_use_is_named(tmp_path):
    net = tiny.TinyNet()
    net.unused = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="1 of 5 trained tensors got no gradient .*'unused'"):
        tiny.run_tiny(tmp_path, trainable=tiny.TinyTrainable(net))


def test_every_trained_tensor_moves_and_every_frozen_one_stays(tmp_path):
    trainable = tiny.TinyTrainable()
    before = {name: value.clone() for name, value in trainable.module.named_parameters()}
    tiny.run_tiny(tmp_path, trainable=trainable, steps=2)
    moved = {name for name, value in trainable.module.named_parameters() if not torch.equal(value, before[name])}
    assert moved == set(before) - {"frozen"}


def test_a_quiet_run_draws_nothing_from_the_global_generator(tmp_path):
    trainable, latents = tiny.TinyTrainable(), tiny.tiny_latents(tmp_path)
    before = torch.get_rng_state()
    list(train_domain(trainable, latents, tiny.tiny_settings(), RunFiles(tmp_path, "run")))
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("domain_guidance.training").level == logging.NOTSET
