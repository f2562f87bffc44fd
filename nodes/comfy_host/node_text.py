"""Sentences at a node: what it does at the moment, and what a person has to know about it.

The host's own line at a node (`send_progress_text`) shows two and a half lines, breaks words at any letter and cannot
be taken away again, so the pack's frontend part, web/node_messages.js, shows them instead. The server keeps them
(said.py), so that web/last_results.js can show them to a page that is loaded later.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from comfy_execution.utils import get_executing_context

from . import said

EVENT = "domain_guidance.node_message"
STATE = "state"  # the slot of how far a run is


class Say(Protocol):
    """Shows a sentence at a node, above those from before, until the node runs again.

    A slot holds one sentence: another one takes its place, and an empty one removes it.
    """

    def __call__(self, line: str, slot: str = "", /) -> Any: ...


def silent(line: str, slot: str = "", /) -> None:
    """A `Say` for where nobody listens."""


def line_at(node_id: str | None) -> Say:
    from server import PromptServer  # late: ComfyUI's server module can be imported only once ComfyUI's main has begun

    executing = get_executing_context()
    prompt = executing.prompt_id if executing else None

    def say(line: str, slot: str = "") -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and node_id is not None:
            said.keep(server, prompt, node_id, slot or line, line)
            message = {"prompt": prompt, "node": node_id, "slot": slot or line, "text": line}
            server.send_sync(EVENT, message, server.client_id)

    return say


def tell(say: Say, line: str, level: int = logging.WARNING) -> None:
    """Say a line at the node and in the log."""
    logging.log(level, "Domain Guidance: %s", line)
    say(line)


def tell_here(line: str, *values: object, level: int = logging.WARNING) -> None:
    """`tell` at the node that the host executes at the moment; in a sampling that is the sampler's.

    values: for the line's conversions, as the log's functions take them.
    """
    executing = get_executing_context()
    tell(line_at(executing.node_id if executing else None), line % values if values else line, level)
