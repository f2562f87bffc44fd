"""What nodes have said in the latest prompts, for a page that was loaded since: `GET /domain_guidance/messages`.

The host sends its messages to the pages that are open and forgets them. These are kept beside its history, in the
server's memory, so both end with the server.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

PATH = "/domain_guidance/messages"
PROMPTS = 64


class Said:
    """Sentences by prompt, node and slot; those of the last 64 prompts in which any node spoke."""

    def __init__(self) -> None:
        self._prompts: dict[str, dict[str, dict[str, str]]] = {}

    def keep(self, prompt: str, node: str, slot: str, text: str) -> None:
        """Keep a sentence as the slot's newest; an empty one removes the slot's."""
        sentences = self._prompts.setdefault(prompt, {}).setdefault(node, {})
        sentences.pop(slot, None)
        if text:
            sentences[slot] = text
        while len(self._prompts) > PROMPTS:
            del self._prompts[next(iter(self._prompts))]

    def record(self) -> dict[str, dict[str, list[list[str]]]]:
        """`{prompt: {node: [[slot, sentence], ...]}}`, the oldest first."""
        return {
            prompt: {node: [list(item) for item in tuple(sentences.items())] for node, sentences in dict(nodes).items()}
            for prompt, nodes in dict(self._prompts).items()
        }


KEPT = web.AppKey("domain_guidance.said", Said)


def register_messages() -> None:
    """Let the running server keep what nodes say, and answer with it; without a server, as in tests, do nothing."""
    from server import PromptServer  # late, as in node_text.py

    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    said = server.app[KEPT] = Said()

    @server.routes.get(PATH)
    async def messages(request: web.Request) -> web.Response:
        return web.json_response(said.record())


def keep(server: Any, prompt: str | None, node: str, slot: str, text: str) -> None:
    """Keep a sentence where `server` does that."""
    said = server.app.get(KEPT) if prompt is not None and hasattr(server, "app") else None
    if said is not None:
        said.keep(prompt, node, slot, text)
