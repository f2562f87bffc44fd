"""Loading the pack costs the host no import of the heavy libraries that only some of its functions need."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
sys.path.append({here!r})
import host_process
from pathlib import Path
host_process.start(host_process.make_base_directory(Path({base!r})))
before = set(sys.modules)
host_process.load_pack(Path({pack!r}))
print("ANSWER" + json.dumps(sorted(set(sys.modules) - before)))
"""
HEAVY = ("diffusers", "accelerate", "sklearn", "transformers.models", "torch_fidelity", "matplotlib")


def test_loading_the_pack_imports_no_heavy_library(tmp_path, base_directory):
    pack = base_directory / "custom_nodes" / "domain-guidance"
    script = SCRIPT.format(here=str(Path(__file__).parent), base=str(tmp_path), pack=str(pack))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    new = json.loads(done.stdout.split("ANSWER")[1])
    assert any(name.endswith(("nodes.extension", "domain_guidance")) for name in new)
    heavy = [name for name in new if name.startswith(HEAVY)]
    assert not heavy, heavy[:5]
