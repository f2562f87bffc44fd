"""One line of text at a node while it works."""

from __future__ import annotations

from collections.abc import Callable


def line_at(node_id: str | None) -> Callable[[str], None]:
    from server import PromptServer  # late: ComfyUI's server module can be imported only once ComfyUI's main has begun

    def say(text: str) -> None:
        if getattr(PromptServer, "instance", None) is not None and node_id is not None:
            PromptServer.instance.send_progress_text(text, node_id)

    return say
