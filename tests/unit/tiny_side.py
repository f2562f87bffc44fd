"""A side network beside a tiny frozen base, trained as `tiny_training` trains: in milliseconds a step, here or in a
process that is killed or has a second one beside it.

python tiny_side.py FOLDER STEPS [kill_at]      trains in FOLDER; after step `kill_at` it kills itself
python tiny_side.py FOLDER two                  trains as one of the processes of `accelerate launch`
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent))

import tiny_training as tiny

from domain_guidance.domains.card import DomainCard
from domain_guidance.domains.prompt import Prompt
from domain_guidance.runs import RunFiles, Step
from domain_guidance.side_networks import LatentSpace, SideTrainable, make_network, shape_for, write_side_file
from domain_guidance.training import train_domain

CARD = DomainCard(form="side-network", prediction="epsilon", base_fingerprint="0123456789abcdef", base_name="tiny")
EMPTY = Prompt(torch.full((1, 4, 8), 0.5))


def save(path, network, record):
    card = DomainCard(**{**vars(CARD), "training": dict(record)})
    write_side_file(path, network, card=card, latents=LatentSpace(3), empty=EMPTY)


def side_trainable(seed=0):
    return SideTrainable(tiny.TinyTrainable(), make_network(shape_for(3, 16, 16), seed), {"form": "side-network"}, save)


def started(folder, trainable=None, process=None, **changed):
    settings = tiny.tiny_settings(**{"learning_rate": 2e-3, **changed})
    made, files = trainable or side_trainable(), RunFiles(folder, "run")
    return train_domain(made, tiny.tiny_latents(folder), settings, files, process)


def run(folder, trainable=None, process=None, **changed):
    """Train to the end; all events."""
    with closing(started(folder, trainable, process, **changed)) as events:
        return list(events)


def train_until_killed(folder, steps, kill_at):
    torch.set_num_threads(1)
    for event in started(folder, steps=steps):
        if isinstance(event, Step) and event.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def train_beside_another(folder):
    from accelerate import Accelerator

    from domain_guidance.runs.accelerated import AcceleratedProcess

    process = AcceleratedProcess(Accelerator(cpu=True))
    run(folder, process=process, batch_size=2)
    process.end()


if __name__ == "__main__":
    if sys.argv[2] == "two":
        train_beside_another(Path(sys.argv[1]))
    else:
        train_until_killed(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
