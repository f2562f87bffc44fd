"""The host in this process with the pack and the tests' probes, and the small models that it loads."""

import host_process
from mini_models import MiniModels
from probe_nodes import NODES


def base_with_pack(folder):
    """A base directory with the pack linked into custom_nodes."""
    base = host_process.make_base_directory(folder)
    host_process.install_pack(base)
    return base


def started_host(base_directory, cpu=True):
    host_nodes = host_process.start(base_directory, cpu=cpu)
    pack = host_process.load_pack(base_directory / "custom_nodes" / "domain-guidance")
    host_nodes.NODE_CLASS_MAPPINGS.update(NODES)
    return host_process.Host(pack)


def small_models(host, base_directory):
    return MiniModels(
        base_directory / "models",
        host.library("domain_guidance.domains.domain_file"),
        host.library("domain_guidance.domains.fingerprint").fingerprint,
    )
