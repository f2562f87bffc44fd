"""What `accelerate launch` starts in each process: the tiny adaptation, with half of the batch.

Arguments: folder, accumulation, layers.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import tiny_adaptation as tiny
from accelerate import Accelerator

from domain_guidance.runs.accelerated import AcceleratedProcess

accelerator = Accelerator(cpu=True)
process = AcceleratedProcess(accelerator)
print(f"rank {process.rank} of {process.world}", flush=True)
tiny.run_tiny(
    Path(sys.argv[1]),
    process=process,
    batch_size=2,
    accumulation=int(sys.argv[2]),
    layers=int(sys.argv[3]),
    directional=1.0,
)
process.end()
