"""Side networks as Train Domain writes them, with seeded random weights, in the host's own folder."""

import torch
from mini_models import FAMILIES, empty_embedding, weights
from probe_nodes import seeded

# The latents of the mini families in the host.
SPACES = {
    "sd15": (4, 0.18215, 0.0, "SD15"),
    "sd20": (4, 0.18215, 0.0, "SD15"),
    "sdxl": (4, 0.13025, 0.0, "SDXL"),
    "sd3": (16, 1.5305, 0.0609, "SD3"),
    "flux": (16, 0.3611, 0.1159, "Flux"),
    "sd15_middle": (4, 0.18215, 0.0, "SD15"),
    "sd15_inpaint": (4, 0.18215, 0.0, "SD15"),
    "sd3_deep": (16, 1.5305, 0.0609, "SD3"),
    "flux_deep": (16, 0.3611, 0.1159, "Flux"),
}


def side_network(
    host,
    minis,
    family="sd15",
    *,
    seed=1,
    name=None,
    fingerprint=None,
    space=None,
    prediction=None,
    size=8,
):
    """side_networks/<name>, written on first use. seed: of the output layer, None for an untrained network. size: of a
    side of the latents that it grew for, in cells.
    """
    library = host.library("domain_guidance.side_networks")
    name = name or f"{family}_{seed}_{size}.safetensors"
    path = minis.root / "side_networks" / name
    if not path.exists():
        channels, *rest = space or SPACES[family]
        network = library.make_network(library.shape_for(SPACES[family][0], size, size), 0)
        if seed is not None:
            with torch.no_grad():
                network.last[2].weight.copy_(0.2 * seeded(seed, *network.last[2].weight.shape))
        empty, pooled = empty_embedding(family)
        card = host.library("domain_guidance.domains.card").DomainCard(
            form="side-network",
            prediction=prediction or FAMILIES[family][3],
            base_fingerprint=fingerprint or minis.fingerprint(weights(family)),
            base_name=f"mini {family}",
        )
        prompt = host.library("domain_guidance.domains.prompt").Prompt(empty, pooled)
        latents = library.LatentSpace(channels, *rest)
        library.write_side_file(path, network, card=card, latents=latents, empty=prompt)
    return name


def load(s, name, model=None):
    """The domain_model of Load Side Network, on the scene's model."""
    return s.graph.add("DomainGuidanceLoadSideNetwork", model=model or s.model, side_network=name)
