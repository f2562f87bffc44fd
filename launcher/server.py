"""One graph through ComfyUI's real server: start it on this machine only, post the graph, fetch its pictures,
stop it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import LauncherError
from .aloud import Clock

PACK_FOLDER = "domain-guidance"
NOT_PART_OF_THE_PACK = shutil.ignore_patterns(".git", ".environments", "__pycache__", ".pytest_cache")


@dataclass(frozen=True)
class Picture:
    """One image file that a graph made. `node` is the id of the node in the graph."""

    node: str
    data: bytes


def run_graph(graph: dict, python: Path, comfyui: Path, pack: Path, *, cpu: bool) -> list[Picture]:
    """Run an API-format graph in a fresh server that loads no other pack and writes nothing into the installation.

    Raises `LauncherError` with the server's own words if it does not start, refuses the graph or fails in it.
    """
    with tempfile.TemporaryDirectory(prefix="domain-guidance-") as folder:
        base = Path(folder)
        _install_pack(pack, base / "custom_nodes" / PACK_FOLDER)
        with _server(python, comfyui, base, cpu) as (address, alive):
            _wait(lambda: _answer(address, "/system_stats"), alive, "ComfyUI is starting")
            prompt = _post(address, graph)
            history = f"/history/{prompt}"
            record = _wait(lambda: (_answer(address, history) or {}).get(prompt), alive, "ComfyUI is drawing")
            return _pictures(address, record)


def _install_pack(pack: Path, place: Path) -> None:
    place.parent.mkdir(parents=True)
    try:
        place.symlink_to(pack, target_is_directory=True)
    except OSError:  # Windows lets only some users make links
        shutil.copytree(pack, place, ignore=NOT_PART_OF_THE_PACK)


@contextmanager
def _server(python: Path, comfyui: Path, base: Path, cpu: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    port, log = _free_port(), base / "server.log"
    command = [
        str(python),
        "main.py",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--disable-auto-launch",
        "--disable-api-nodes",
        "--database-url",
        "sqlite:///:memory:",
        "--disable-all-custom-nodes",
        "--whitelist-custom-nodes",
        PACK_FOLDER,
        *(["--cpu"] if cpu else []),
    ]
    with log.open("wb") as output:
        environ = os.environ | ({"OMP_NUM_THREADS": "1"} if cpu else {})  # as in the demo: more threads only cost
        process = subprocess.Popen(command, cwd=comfyui, stdout=output, stderr=subprocess.STDOUT, env=environ)
        try:
            yield f"http://127.0.0.1:{port}", lambda: _still_runs(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _still_runs(process: subprocess.Popen, log: Path) -> None:
    if process.poll() is not None:
        raise LauncherError(f"ComfyUI's server ended by itself; its last words: {_last_words(log)}")


def _last_words(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _wait(question: Callable, alive: Callable[[], None], doing: str):
    """Ask until there is an answer, as long as the server is alive: a slow machine only takes longer."""
    clock = Clock(doing)
    while (answer := question()) is None:
        alive()
        clock.tick()
        time.sleep(0.3)
    return answer


def _answer(address: str, path: str) -> dict | None:
    """The server's JSON answer; None while it does not listen yet, or is too busy to answer."""
    try:
        with _open(address + path) as response:
            return json.load(response)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def _post(address: str, graph: dict) -> str:
    body = json.dumps({"prompt": graph}).encode()
    request = urllib.request.Request(address + "/prompt", body, {"Content-Type": "application/json"})
    try:
        with _open(request, timeout=None) as response:
            return json.load(response)["prompt_id"]
    except urllib.error.HTTPError as refusal:
        raise LauncherError(f"ComfyUI refused the graph: {refusal.read().decode(errors='replace')}") from None


def _pictures(address: str, record: dict) -> list[Picture]:
    if record["status"]["status_str"] != "success":
        errors = [
            facts.get("exception_message", "").strip()
            for event, facts in record["status"]["messages"]
            if event == "execution_error"
        ]
        raise LauncherError(f"the graph failed in ComfyUI: {' '.join(errors) or 'no message'}")
    return [
        Picture(node, _download(address, file))
        for node, result in record["outputs"].items()
        for file in result.get("images", ())
    ]


def _download(address: str, file: dict) -> bytes:
    with _open(f"{address}/view?{urllib.parse.urlencode(file)}", timeout=None) as response:
        return response.read()


def _open(request, timeout: float | None = 30):
    # No proxy: the server is this machine's own.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)
