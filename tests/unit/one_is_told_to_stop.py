"""What `accelerate launch` starts in each of two processes: the tiny training, in which rank 1 alone gets SIGTERM after
step 7.

Argument: folder.
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import tiny_training as tiny
from accelerate import Accelerator

from domain_guidance.commands.interrupts import stop_requests, stop_together
from domain_guidance.runs import RunFiles, Step
from domain_guidance.runs.accelerated import AcceleratedProcess
from domain_guidance.training import train_domain

accelerator = Accelerator(cpu=True)
process, folder = AcceleratedProcess(accelerator), Path(sys.argv[1])
settings = tiny.tiny_settings(steps=30, batch_size=2, checkpoint_every=0, evaluate_every=0)
run = train_domain(tiny.TinyTrainable(), tiny.tiny_latents(folder), settings, RunFiles(folder, "run"), process)
try:
    with stop_requests() as check, closing(run) as events:
        for event in events:
            if isinstance(event, Step) and event.step == 7 and process.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            stop_together(process, check)
except KeyboardInterrupt:
    print(f"rank {process.rank} stopped", flush=True)
process.end()
