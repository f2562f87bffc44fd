"""Which nodes a Cancel ended with a part of their result, so that the host runs them again.

The host keeps the result of a node until its inputs change; a mark on the disk counts as one of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths


def remember_unfinished(node_id: str) -> None:
    """To be called by a node that answers with an unfinished result."""
    mark = _mark(node_id)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def last_unfinished(node_id: str) -> int:
    """When the node's result was last left unfinished, in nanoseconds; 0 for never since the host's start.

    For `fingerprint_inputs`.
    """
    mark = _mark(node_id)
    return mark.stat().st_mtime_ns if mark.exists() else 0


def _mark(node_id: str) -> Path:
    name = hashlib.sha256(str(node_id).encode()).hexdigest()[:16]  # the id of a node in a subgraph has a colon
    return Path(folder_paths.get_temp_directory()) / "domain_guidance" / f"{name}.cancelled"
