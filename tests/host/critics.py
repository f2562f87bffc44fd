"""Critics of small graphs: a MODEL under real guidance, asked for its predictions inside a sampling run."""

from dataclasses import dataclass

import torch
from mini_models import FAMILIES
from scenes import build
from training_scenes import vae_file


@dataclass
class Critics:
    """The pack's own modules, and one way to ask."""

    sampler: object
    critic: object
    vae: object
    distillation: object

    @classmethod
    def of(cls, host):
        names = (
            "nodes.comfy_host.generators.sampler",
            "nodes.comfy_host.generators.critic",
            "nodes.comfy_host.generators.differentiable_vae",
            "domain_guidance.distillation",
        )
        return cls(*map(host.library, names))

    def ask(self, model, vae, positive, negative, work, *, cfg=4.0, shape=(1, 4, 8, 8), seed=0):
        """What `work` makes of the critic that these values of a graph are."""
        with torch.inference_mode(False):
            own = self.vae.DifferentiableVae(vae)
        sigmas = torch.cat([model.get_model_object("model_sampling").sigmas.flip(0), torch.zeros(1)])
        with torch.inference_mode():  # as the host calls nodes
            return self.sampler.inside_sampler(
                model,
                own,
                positive,
                negative,
                cfg=cfg,
                shape=shape,
                sigmas=sigmas,
                seed=seed,
                work=lambda guider, predict: work(self.critic.HostCritic(guider, predict, own, {})),
            )


class Judged:
    """A graph with a base, a VAE and two prompts, and links to more."""

    def __init__(self, host, minis, family="sd15", **scene):
        self.host, self.minis, self.family = host, minis, family
        self.scene = build(minis, family, **scene)
        self.vae = self.scene.graph.add("VAELoader", vae_name=vae_file(minis, FAMILIES[family][2]))

    @property
    def graph(self):
        return self.scene.graph

    @property
    def vae_channels(self):
        return FAMILIES[self.family][2]

    def value(self, link):
        return self.host.value(self.graph, link)

    def ask(self, critics, model, work, **settings):
        s = self.scene
        shape = settings.pop("shape", (1, self.vae_channels, 8, 8))
        return critics.ask(
            self.value(model),
            self.value(self.vae),
            self.value(s.positive),
            self.value(s.negative),
            work,
            shape=shape,
            **settings,
        )

    def prompt(self, seed):
        return self.value(self.scene.prompt(seed))


def predicted(model, prompt, x, sigma):
    """One bare evaluation of a MODEL's network by hand, below every wrapper: no guider, no guidance."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    [[embedding, rest]] = prompt
    extra = {"y": rest["pooled_output"]} if "pooled_output" in rest else {}
    with torch.inference_mode():
        return model.model.apply_model(
            x, sigma, c_crossattn=embedding.repeat(len(x), 1, 1), **{k: v.repeat(len(x), 1) for k, v in extra.items()}
        ).clone()
