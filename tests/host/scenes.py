"""The small graphs that most tests share: a mini base, prompts, a latent, and a domain to guide with."""

from dataclasses import dataclass

import torch
from mini_models import FAMILIES
from prompts import Graph, Node, ksampler

# Rounding of one batch of two against two batches of one; measured in the host at up to 2.7e-6.
TOLERANCE = 5e-6
EMPTY, POSITIVE, OTHER = 0, 1, 2  # seeds of ProbeConditioning; 0 is the empty prompt that the domain files carry


@dataclass
class Scene:
    """Links of one graph, and the family's sizes."""

    graph: Graph
    family: str
    model: Node
    positive: Node
    negative: Node
    latent: Node

    def prompt(self, seed):
        """The embedding of a prompt of this family; seed 0 is the empty one."""
        dim, pooled, _, _ = FAMILIES[self.family]
        return self.graph.add("ProbeConditioning", seed=seed, dim=dim, pooled=pooled)

    def load(self, file):
        return self.graph.add("UNETLoader", unet_name=file)

    def load_domain(self, file, **inputs):
        return self.graph.add("DomainGuidanceLoadUNet", unet_name=file, **inputs)

    def guide(self, model, domain, weight=2.0, **inputs):
        return self.graph.add("DomainGuidanceApply", model=model, domain_model=domain, weight=weight, **inputs)

    def sample(self, model, **changes):
        conditioning = {"positive": self.positive, "negative": self.negative, "latent": self.latent}
        links = {name: changes.pop(name, link) for name, link in conditioning.items()}
        return ksampler(self.graph, model, **links, **changes)


def build(minis, family="sd15", *, negative=EMPTY, batch=1, size=(8, 8), latent_seed=-1):
    """A base of the family, a positive prompt, a negative one of the given seed and an empty latent."""
    graph = Graph()
    dim, pooled, channels, _ = FAMILIES[family]
    model = graph.add("UNETLoader", unet_name=minis.unet(family))
    positive, negative = (
        graph.add("ProbeConditioning", seed=seed, dim=dim, pooled=pooled) for seed in (POSITIVE, negative)
    )
    latent = graph.add("ProbeLatent", seed=latent_seed, channels=channels, height=size[0], width=size[1], batch=batch)
    return Scene(graph, family, model, positive, negative, latent)


def control(s, minis, **inputs):
    """Puts a ControlNet on both prompts of the scene."""
    both = s.graph.add(
        "ControlNetApplyAdvanced",
        positive=s.positive,
        negative=s.negative,
        image=s.graph.add("ProbeImage", seed=3),
        control_net=s.graph.add("ControlNetLoader", control_net_name=minis.controlnet()),
        **inputs,
    )
    s.positive, s.negative = both[0], both[1]


def distance(a, b):
    """|a - b| / |b|, Euclidean."""
    return float((a - b).norm() / b.norm())


def assert_same(a, b, tolerance=TOLERANCE):
    assert a.shape == b.shape
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    assert distance(a, b) <= tolerance, f"relative distance {distance(a, b):.2e}, allowed {tolerance:.0e}"


def assert_differs(a, b, at_least=1e-2):
    assert distance(a, b) > at_least, f"relative distance only {distance(a, b):.2e}: the node did nothing"


def assert_one_sentence(message):
    """What a user reads: one sentence that ends, in words, without a traceback."""
    assert "\n" not in message and message.endswith(".") and len(message.split()) >= 8, message
    assert "Traceback" not in message and "Error(" not in message, message
