"""Small adaptations in the real host: a random generator of 16 px beside the toy world's models or the mini
families.
"""

import json

import torch
from mini_models import FAMILIES
from prompts import Graph
from scenes import EMPTY, POSITIVE
from training_scenes import vae_file

SETTINGS = {
    "steps": 4,
    "cfg": 5.0,
    "learning_rate": 2e-3,
    "regulariser": "none",
    "regulariser_weight": 1.0,
    "seed": 3,
    "on_existing": "resume",
    "preview_every": 0,
    "checkpoint_every": 0,
}


class ProbeGenerator:
    """A GENERATOR with seeded random weights: two blocks more than the smallest, 16 px."""

    RETURN_TYPES = ("GENERATOR",)
    FUNCTION = "make"
    CATEGORY = "tests"
    library = None  # the pack's `domain_guidance.generators`, under the name that the host gave it

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0}), "width": ("INT", {"default": 8})}}

    def make(self, seed, width):
        g = self.library
        config = g.GeneratorConfig(16, (width,) * 3, z_dim=8, w_dim=8, mapping_layers=2)
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = {name: tensor.detach().clone() for name, tensor in g.Generator(config).state_dict().items()}
        return (g.GeneratorFile(g.GeneratorCard(config, g.Origin("probe", "0" * 64, "made for a test")), weights),)


class ProbeSpatialGenerator:
    """A GENERATOR that draws in space, of 32 px, with seeded random weights."""

    RETURN_TYPES = ("GENERATOR",)
    FUNCTION = "make"
    CATEGORY = "tests"
    library = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    def make(self, seed):
        g = self.library
        backbone = g.GeneratorConfig(16, (6, 6, 6), z_dim=5, w_dim=6, c_dim=25, mapping_layers=2, channels=12)
        rendering = g.eg3d.Rendering(resolution=8, samples=6, importance_samples=6)
        config = g.Eg3dConfig(
            backbone, resolution=32, superresolution_widths=(6, 4), decoder_width=8, rendering=rendering
        )
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = {name: tensor.detach().clone() for name, tensor in g.Eg3dGenerator(config).state_dict().items()}
        return (g.GeneratorFile(g.GeneratorCard(config), weights),)


def register(host):
    """The probes as nodes of this process."""
    import nodes

    for probe in (ProbeGenerator, ProbeSpatialGenerator):
        probe.library = host.library("domain_guidance.generators")
        nodes.NODE_CLASS_MAPPINGS[probe.__name__] = probe


class Adaptation:
    """A graph with one Adapt Generator node. family: of a mini critic, or 'toy' for the toy world without a
    VAE's loss.
    """

    def __init__(self, minis, family="toy", *, save_name, model=None, graph=None, **changes):
        self.family, self.name, self.graph = family, save_name, Graph() if graph is None else graph
        self.generator = self.graph.add(changes.pop("probe", "ProbeGenerator"), seed=1)
        if family == "toy":
            self.toy = self.graph.add("DomainGuidanceToyWorld")
            self.model, self.vae, self.positive, self.negative = self.toy[0], self.toy[2], self.toy[3], self.toy[4]
        else:
            dim, pooled, channels, _ = FAMILIES[family]
            self.model = self.graph.add("UNETLoader", unet_name=minis.unet(family))
            self.vae = self.graph.add("VAELoader", vae_name=vae_file(minis, channels))
            self.positive, self.negative = (
                self.graph.add("ProbeConditioning", seed=s, dim=dim, pooled=pooled) for s in (POSITIVE, EMPTY)
            )
            changes = {"resolution": 64, **changes}
        given = {
            "generator": self.generator,
            "model": model or self.model,
            "vae": self.vae,
            "positive": self.positive,
            "negative": self.negative,
            "save_name": save_name,
            **SETTINGS,
            **changes,
        }
        self.before = (
            self.graph.copy()
        )  # to look at an input without an adaptation: the node runs with every graph that it is in
        self.node = self.graph.add("DomainGuidanceAdaptGenerator", **given)


def result_of(adaptation, base_directory):
    return base_directory / "output" / "generators" / f"{adaptation.name}.safetensors"


def state_of(adaptation, base_directory):
    return base_directory / "output" / "generators" / f"{adaptation.name}.training" / "run.state"


def log_of(adaptation, base_directory):
    path = state_of(adaptation, base_directory).with_name("log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps_of(adaptation, base_directory):
    return [line["step"] for line in log_of(adaptation, base_directory) if line["event"] == "step"]
