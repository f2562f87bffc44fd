"""One ComfyUI inside this process, set up as `main.py` sets it up, with the pack loaded as a user's pack is."""

import asyncio
import importlib
import shutil
import sys
import uuid
from pathlib import Path

PACK_ROOT = Path(__file__).resolve().parents[2]
IP_ADAPTER_PACK = Path.cwd() / "custom_nodes" / "ComfyUI_IPAdapter_plus"
MODEL_FOLDERS = (
    "checkpoints",
    "diffusion_models",
    "loras",
    "controlnet",
    "vae",
    "clip_vision",
    "ipadapter",
    "embeddings",
)


def make_base_directory(root):
    """An empty `--base-directory`: the folders that the host expects, none of the user's files."""
    for folder in ("input", "output", "temp", "user", "custom_nodes"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in MODEL_FOLDERS:
        (root / "models" / folder).mkdir(parents=True, exist_ok=True)
    return root


def start(base_directory, cpu=True):
    """Load the host's core nodes; the tests use the CPU, so that every machine runs the same arithmetic."""
    from comfy.cli_args import args

    # Both are read at import by comfy.model_management and folder_paths.
    args.cpu = cpu
    args.base_directory = str(base_directory)
    import utils.extra_config  # noqa: F401, first as in main.py: once nodes is imported, `utils` is comfy/utils.py

    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    return nodes


def install_pack(base_directory):
    """The pack in custom_nodes, linked; copied where the system lets only some users make links."""
    place = base_directory / "custom_nodes" / "domain-guidance"
    try:
        place.symlink_to(PACK_ROOT, target_is_directory=True)
    except OSError:
        shutil.copytree(PACK_ROOT, place, ignore=shutil.ignore_patterns(".git", ".environments", "__pycache__"))
    return place


def load_pack(path):
    """Load a pack through the host's own loader and return its module."""
    import nodes

    if not asyncio.run(nodes.load_custom_node(str(path))):
        raise RuntimeError(f"the host could not load the pack at {path}; its log names the reason")
    return sys.modules[str(path).replace(".", "_x_")]


class ServerStandIn:
    """What `PromptExecutor` asks of the server: three names."""

    def __init__(self):
        self.client_id = None
        self.last_node_id = None
        self.messages = []

    def send_sync(self, event, data, sid=None):
        self.messages.append(event)


class PromptError(Exception):
    """A prompt that the host refused or that failed; `message` is what the user reads."""

    def __init__(self, message, details):
        super().__init__(message)
        self.message = message
        self.details = details


class Host:
    """Runs API-format prompts in process; `run` answers with the captured values, by node id."""

    def __init__(self, pack):
        self.pack = pack
        self._executor = self._new_executor()

    def library(self, name):
        """A module of the pack under the name that the host gave it, e.g. `domain_guidance.domains.domain_file`."""
        return importlib.import_module(f"{self.pack.__name__}.{name}")

    def run(self, graph, *, fresh=False):
        """Execute the graph; `fresh` uses an executor without cached results, so that every node really runs."""
        import execution

        prompt_id = str(uuid.uuid4())
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(prompt_id, graph, None))
        if not valid:
            raise PromptError(f"{error['message']} {error['details']}", node_errors)
        executor = self._new_executor() if fresh else self._executor
        executor.execute(graph, prompt_id, {}, outputs)
        for event, data in executor.status_messages:
            if event == "execution_error":
                raise PromptError(data["exception_message"].strip(), data)
        found = executor.history_result["outputs"]
        return {node_id: output["captured"][0] for node_id, output in found.items() if "captured" in output}

    def value(self, graph, link, *, fresh=False):
        """The Python value that flows along one link of the graph."""
        probed = graph.copy()
        probe = probed.add("ProbeCapture", value=link)
        return self.run(probed, fresh=fresh)[probe.id]

    def samples(self, graph, link, *, fresh=False):
        """The latent tensor [B, C, H, W] at one link."""
        return self.value(graph, link, fresh=fresh)["samples"]

    @staticmethod
    def _new_executor():
        import execution

        # Room for the loaders of a whole session: a mini checkpoint is read once, as in a user's long session.
        cache_args = {"lru": 200, "ram": 0, "ram_inactive": 0}
        return execution.PromptExecutor(ServerStandIn(), cache_type=execution.CacheType.LRU, cache_args=cache_args)
