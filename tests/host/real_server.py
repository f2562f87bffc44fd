"""ComfyUI's real server as one process on this machine, and the four requests that the tests make."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager


def succeeded(record):
    """The history record of a prompt that has to succeed: the node's own sentence is the failure."""
    messages = dict(record["status"]["messages"])
    error = messages.get("execution_error", {})
    assert record["status"]["status_str"] == "success", error.get("exception_message", messages)
    return record


class RealServer:
    """`process` runs `main.py`; every request goes to 127.0.0.1."""

    def __init__(self, base_directory, process, port, log):
        self.base_directory, self.process, self.log = base_directory, process, log
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path):
        with urllib.request.urlopen(self.address + path) as answer:
            return json.load(answer)

    def run(self, graph):
        """Queue a prompt, wait for its end, answer with its history record.

        As long as the server lives: how long a prompt takes is the machine's affair.
        """
        body = json.dumps({"prompt": graph}).encode()
        request = urllib.request.Request(self.address + "/prompt", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            prompt_id = json.load(answer)["prompt_id"]
        while not (record := self.get(f"/history/{prompt_id}").get(prompt_id)):
            self.check_alive("making a prompt")
            time.sleep(0.1)
        return record

    def make(self, graph):
        """As `run`, for a prompt that has to succeed."""
        return succeeded(self.run(graph))

    def wait_until_ready(self):
        while True:
            self.check_alive("starting")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)

    def check_alive(self, doing):
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended while {doing}:\n" + self.log.read_text(errors="replace")[-2000:])


@contextmanager
def real_server(base_directory, log, *, textures=False, options=()):
    """A server of the host in the working directory, with the pack of `base_directory` alone; ended by its process.

    textures: whether pages may show those of meshes, which the host forbids them where its API nodes are disabled.
    options: more words of the command line.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "main.py",
        "--cpu",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--base-directory",
        str(base_directory),
        "--disable-auto-launch",
        *([] if textures else ["--disable-api-nodes"]),
        "--database-url",
        "sqlite:///:memory:",
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    server = RealServer(base_directory, process, port, log)
    try:
        server.wait_until_ready()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
