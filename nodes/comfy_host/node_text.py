"""One line of text at a node while it works."""

from __future__ import annotations

import logging
from collections.abc import Callable

Say = Callable[[str], None]


def tell(say: Say, line: str) -> None:
    """Say a line at the node and in the log."""
    logging.warning("Domain Guidance: %s", line)
    say(line)


def line_at(node_id: str | None) -> Say:
    from server import PromptServer  # late: ComfyUI's server module can be imported only once ComfyUI's main has begun

    def say(text: str) -> None:
        if getattr(PromptServer, "instance", None) is not None and node_id is not None:
            PromptServer.instance.send_progress_text(text, node_id)

    return say
