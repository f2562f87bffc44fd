"""An adaptation over several processes is that of one with all of the batch, to rounding."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_adaptation as tiny

from domain_guidance.generators import read_generator_file
from domain_guidance.runs import RunFiles, Step
from domain_guidance.runs.run_log import read_log

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")


def losses(folder):
    return [line["loss"] for line in read_log(RunFiles(folder, "run").log) if line["event"] == "step"]


@pytest.mark.parametrize("accumulation, layers", [(1, 0), (2, 2)])
def test_two_processes_adapt_as_one_with_twice_the_batch_and_one_goes_on_with_their_run(tmp_path, accumulation, layers):
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
    script = [HERE / "adapt_in_two_processes.py", tmp_path / "two", str(accumulation), str(layers)]
    command = [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", *script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(re.findall(r"rank \d of \d", done.stdout)) == ["rank 0 of 2", "rank 1 of 2"]
    options = {"batch_size": 4 * accumulation, "layers": layers, "directional": 1.0}
    tiny.run_tiny(tmp_path / "one", **options)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 8 and two == pytest.approx(one, rel=1e-5)
    weights = [read_generator_file(RunFiles(tmp_path / name, "run").result).weights for name in ("one", "two")]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-6
    further = tiny.run_tiny(tmp_path / "two", steps=9, **options)
    assert [event.step for event in further if isinstance(event, Step)] == [9]
