"""A batch may be divided over micro-batches and over processes: the training stays the same, to rounding."""

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_training as tiny
import torch
from torch import nn

from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.runs import OneProcess, RunFiles, Settings, Share, Step, TrainingState, train
from domain_guidance.runs.accelerated import AcceleratedProcess
from domain_guidance.runs.run_log import read_log
from domain_guidance.training import Batch, noise_loss

HERE = Path(__file__).parent
needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


def curves(folder, name="run"):
    """Losses of all steps, then training and held-out losses of all measurements."""
    lines = list(read_log(RunFiles(folder, name).log))
    steps = [line["loss"] for line in lines if line["event"] == "step"]
    return steps + [
        value for line in lines if line["event"] == "evaluated" for value in (line["train"], line["held_out"])
    ]


def test_the_shares_of_a_batch_see_what_the_whole_batch_sees():
    seen = {1: [], 2: []}
    clean = torch.randn(6, 3, 4, 4)
    for count in seen:
        for index in range(count):

            def record(noisy, timestep, conditioning):
                seen[count].append((noisy, timestep))
                return torch.zeros_like(noisy)

            part = clean[index * 6 // count : (index + 1) * 6 // count]
            noise_loss(
                record,
                Batch(part, None),
                scaled_linear(),
                "epsilon",
                torch.Generator().manual_seed(0),
                share=Share(index, count),
            )
    for whole, halves in zip(zip(*seen[1]), zip(*seen[2])):
        assert torch.equal(whole[0], torch.cat(halves))


@pytest.mark.parametrize("batch_size, accumulation", [(2, 2), (1, 4)])
def test_accumulated_micro_batches_train_as_one_batch(tmp_path, batch_size, accumulation):
    tiny.run_tiny(tmp_path / "whole", batch_size=4)
    tiny.run_tiny(tmp_path / "cut", batch_size=batch_size, accumulation=accumulation)
    assert curves(tmp_path / "cut") == pytest.approx(curves(tmp_path / "whole"), rel=1e-5)


def test_gradients_are_exchanged_once_a_step_however_many_micro_batches_it_has():
    parameter, accumulated = nn.Linear(1, 1), []

    class Counting(OneProcess):
        def accumulating(self):
            accumulated.append(1)
            return nullcontext()

    settings = Settings(steps=2)
    state, process = TrainingState(parameter, settings), Counting()
    process.prepare(parameter, state.optimizer)
    list(train(state, [lambda generator: parameter(torch.ones(1, 1)).sum()] * 3, settings, process))
    assert len(accumulated) == 2 * 2, "all micro-batches but the last of each step"


@needs_accelerate
def test_accelerate_with_one_process_equals_none(tmp_path):
    code = (
        "import sys; sys.path.append(sys.argv[1]); import tiny_training as tiny; from accelerate import Accelerator\n"
        "from domain_guidance.runs.accelerated import AcceleratedProcess\n"
        "tiny.run_tiny(tiny.Path(sys.argv[2]), process=AcceleratedProcess(Accelerator(cpu=True)), accumulation=2)"
    )
    subprocess.run([sys.executable, "-c", code, HERE, tmp_path / "accelerated"], check=True, capture_output=True)
    tiny.run_tiny(tmp_path / "plain", accumulation=2)
    assert curves(tmp_path / "accelerated") == pytest.approx(curves(tmp_path / "plain"), rel=1e-6)


def test_a_process_that_prepared_nothing_leaves_its_group_all_the_same():
    done = []
    accelerator = SimpleNamespace(
        process_index=1,
        num_processes=2,
        free_memory=lambda: done.append("memory is free"),
        end_training=lambda: done.append("training has ended"),
    )
    AcceleratedProcess(accelerator).end()
    assert done == ["memory is free", "training has ended"]


def launched(script, *arguments):
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_machines",
        "1",
        "--num_processes",
        "2",
    ]
    command = [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", HERE / script, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@needs_accelerate
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_a_notice_that_reaches_one_process_ends_the_run_in_both_and_it_is_saved(tmp_path):
    tiny.tiny_latents(tmp_path)
    said = launched("one_is_told_to_stop.py", tmp_path)
    assert sorted(re.findall(r"rank \d stopped", said)) == ["rank 0 stopped", "rank 1 stopped"]
    left = tiny.run_tiny(tmp_path, batch_size=4, steps=9, checkpoint_every=0, evaluate_every=0)
    assert [event.step for event in left if isinstance(event, Step)] == [8, 9]


@needs_accelerate
@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_under_accelerate_launch_have_the_losses_of_one_with_twice_the_batch(tmp_path, accumulation):
    for folder in ("one", "two"):
        tiny.tiny_latents(tmp_path / folder)  # encoded once; the processes find it filled
    # Two processes share one pipe, so their lines may run together.
    assert sorted(re.findall(r"rank \d of \d", launched("two_processes.py", tmp_path / "two", str(accumulation)))) == [
        "rank 0 of 2",
        "rank 1 of 2",
    ]
    tiny.run_tiny(tmp_path / "one", batch_size=4 * accumulation)
    one, two = curves(tmp_path / "one"), curves(tmp_path / "two")
    assert len(one) == len(two) == 20 + 2 * 5
    assert two == pytest.approx(one, rel=1e-5)
