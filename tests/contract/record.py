#!/usr/bin/env python3
"""Records the nodes' inputs and outputs in nodes.json: `cd ComfyUI; python <pack>/tests/contract/record.py`.

Run it after adding a node, an input or an output. A change that would break saved workflows is refused; `--breaking`
records it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "nodes.json"


def main():
    allowed = sys.argv[1:] == ["--breaking"]
    del sys.argv[1:]  # the host reads them, too
    sys.path[:0] = [os.getcwd()]
    sys.path += [str(HERE), str(HERE.parent / "host")]
    import host_process
    import node_contract

    with tempfile.TemporaryDirectory() as folder:
        base = host_process.make_base_directory(Path(folder))
        host_process.start(base)
        host_process.load_pack(host_process.install_pack(base))
        live = node_contract.describe(own_nodes(), base)
    recorded = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    broken = list(node_contract.breaking(recorded, live))
    if broken and not allowed:
        print("Not recorded:", *broken, sep="\n  ")
        return 1
    RECORD.write_text(json.dumps(live, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Recorded {len(live)} nodes in {RECORD}")
    return 0


def own_nodes():
    """The pack's node classes, as the host has registered them."""
    import nodes

    return {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("DomainGuidance")}


if __name__ == "__main__":
    sys.exit(main())
