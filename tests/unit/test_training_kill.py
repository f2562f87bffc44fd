"""kill -9 at many points of a run: whatever is found on disk loads, and the run ends where it would have ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training as tiny
from safetensors.torch import load_file

from domain_guidance.runs import RunFiles
from domain_guidance.runs.run_log import read_log

KILLS, STEPS = 24, 120

# One process that imports once and forks, so that a kill costs milliseconds. Every child kills itself at a point that
# was drawn for it, counted over what happens in a run: each event, and each half of each file that is written, before
# and after. It prints a line for every kill.
KILLER = '''
import os, random, signal, sys
sys.path.append(sys.argv[2])
import tiny_training as tiny
import torch
torch.set_num_threads(1)
from safetensors.torch import load_file, save
from domain_guidance.files import atomic_file
from domain_guidance.runs import RunFiles
from domain_guidance.runs.run_log import read_log

folder, kills, steps = tiny.Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
latents, left = tiny.tiny_latents(folder), [None]

def point():
    if left[0] is not None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def in_halves(tensors, path, metadata=None):
    """A disk that half of the kills catch in a write."""
    data = save(tensors, metadata)
    with open(path, "wb") as file:
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            point()
            file.write(half)
            file.flush()
    point()

atomic_file.save_file = in_halves

def child(name):
    settings = tiny.tiny_settings(steps=steps, checkpoint_every=1, evaluate_every=2)
    for event in tiny.train_domain(tiny.TinyTrainable(), latents, settings, RunFiles(folder, name)):
        point()

child("warm")  # what is imported late is imported now
done, run = 0, 0
while done < kills:
    pid = os.fork()
    if not pid:
        left[0] = random.Random(done).randint(1, 30)
        child(f"run{run}")
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    written = (path for path in folder.rglob("*") if path.suffix in (".safetensors", ".state"))
    files = [path for path in written if "latents" not in path.parts]
    for path in files:
        load_file(path)
    list(read_log(RunFiles(folder, f"run{run}").log))
    done, run = done + killed, run + (not killed)
    saved = RunFiles(folder, f"run{run}").state
    print(killed, len(files), int(load_file(saved)["optimizer.step.last.bias"]) if saved.exists() else 0, flush=True)
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_run_killed_at_many_points_always_leaves_files_that_load_and_ends_as_if_it_never_was(tmp_path):
    arguments = [tmp_path, Path(__file__).parent, str(KILLS), str(STEPS)]
    done = subprocess.run([sys.executable, "-c", KILLER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills = [line.split() for line in done.stdout.splitlines() if line.startswith("True")]
    assert len(kills) == KILLS >= 20
    assert len({step for _, _, step in kills}) >= 8, f"the kills must fall on many steps, not {kills}"
    _ends_as_uninterrupted(tmp_path)


def _ends_as_uninterrupted(folder):
    script = [sys.executable, "-c", FINISH, folder, Path(__file__).parent, str(STEPS)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, killed = RunFiles(folder, "whole"), RunFiles(folder, "run0")
    for path in ("state", "result", "best"):
        one, other = load_file(getattr(whole, path)), load_file(getattr(killed, path))
        assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one), path
    logged = [[line["loss"] for line in read_log(files.log) if line["event"] == "step"] for files in (whole, killed)]
    assert len(logged[0]) == STEPS and logged[0] == logged[1]


FINISH = """
import sys
sys.path.append(sys.argv[2])
import tiny_training as tiny
tiny.torch.set_num_threads(1)
for name in ("whole", "run0"):
    tiny.run_tiny(tiny.Path(sys.argv[1]), name, steps=int(sys.argv[3]), checkpoint_every=1, evaluate_every=2)
"""


def test_the_tiny_training_that_is_killed_does_learn(tmp_path):
    events = tiny.run_tiny(tmp_path, steps=40)
    losses = [event.held_out for event in events if hasattr(event, "held_out")]
    assert losses[-1] < 0.8 * losses[0]
