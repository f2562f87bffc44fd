"""The host's own models of shapes, Hunyuan3D and TRELLIS.2, under domain guidance: built small, with random weights.

Their latents are no pictures: a row of tokens, the cells of a cube, or the occupied cells of one.
"""

import pytest
import torch
from host_process import PromptError
from mini_models import _random_like, lora, trained
from probe_nodes import seeded
from prompts import Graph, ksampler
from safetensors.torch import save_file
from scenes import assert_differs, assert_same

TOKENS, WORDS, SIDE = 24, 6, 3
CONFIGS = {
    "Hunyuan3Dv2": {
        "image_model": "hunyuan3d2",
        "in_channels": 64,
        "context_in_dim": 32,
        "hidden_size": 64,
        "num_heads": 2,
        "depth": 1,
        "depth_single_blocks": 1,
    },
    "Hunyuan3Dv2_1": {
        "image_model": "hunyuan3d2_1",
        "in_channels": 64,
        "context_dim": 32,
        "hidden_size": 64,
        "num_heads": 2,
        "depth": 3,
        "guidance_cond_proj_dim": None,
    },
    "Trellis2": {
        "image_model": "trellis2",
        "resolution": 64,
        "model_channels": 144,  # of 12 heads, as the host insists
        "cond_channels": 32,
        "num_blocks": 1,
    },
}
# Each name says the model and, for TRELLIS.2, the stage: its structure is a cube, its shape the cube's occupied cells.
STAGES = {
    "Hunyuan3Dv2": (64, TOKENS),
    "Hunyuan3Dv2_1": (64, TOKENS),
    "Trellis2 structure": (32, 16, 16, 16),
    "Trellis2 shape": (32, SIDE**3, 1),
}


def family(stage):
    return stage.split()[0]


def network(name):
    import comfy.supported_models

    config = getattr(comfy.supported_models, name)(dict(CONFIGS[name]))
    config.set_inference_dtype(torch.float32, None)
    return config.get_model({}, device="cpu")


class ShapeModel:
    """A shape model with seeded weights, or with those after some training."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (list(CONFIGS),), "is_trained": ("BOOLEAN", {"default": False})}}

    def make(self, name, is_trained):
        from comfy.model_patcher import ModelPatcher

        model = network(name).eval()
        state = _random_like(model.diffusion_model.state_dict(), 3)
        model.diffusion_model.load_state_dict(trained(state) if is_trained else state)
        return (ModelPatcher(model, torch.device("cpu"), torch.device("cpu")),)


class ShapePrompt:
    """What a picture says to a shape model, by its seed; 0 is no picture, all zeros, as in the host's own nodes."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"stage": (list(STAGES),), "seed": ("INT", {"default": 0})}}

    def make(self, stage, seed):
        words = seeded(seed, 1, WORDS, 32) * min(seed, 1)
        extra = {"embeds": words} if family(stage) == "Trellis2" else {}
        if stage == "Trellis2 shape":
            cells = torch.cartesian_prod(*[torch.arange(SIDE)] * 3)
            extra |= {
                "trellis2_coords": torch.cat((torch.zeros_like(cells[:, :1]), cells), 1).int(),
                "trellis2_coord_counts": torch.tensor([len(cells)]),
                "trellis2_generation_mode": "shape_generation_512",
            }
        return ([[words, extra]],)


class ShapeLatent:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"stage": (list(STAGES),)}}

    def make(self, stage):
        return ({"samples": torch.zeros(1, *STAGES[stage])},)


@pytest.fixture(autouse=True)
def shape_nodes(host, monkeypatch):
    import nodes

    for node in (ShapeModel, ShapePrompt, ShapeLatent):
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, node.__name__, node)


class Sculpture:
    """A shape model, a picture's prompt and none, and an empty latent, as links of one graph."""

    def __init__(self, stage):
        self.graph, self.stage = Graph(), stage
        self.model = self.of()
        self.positive, self.negative = self.prompt(1), self.prompt(0)
        self.latent = self.graph.add("ShapeLatent", stage=stage)

    def of(self, is_trained=False):
        return self.graph.add("ShapeModel", name=family(self.stage), is_trained=is_trained)

    def prompt(self, seed):
        return self.graph.add("ShapePrompt", stage=self.stage, seed=seed)

    def guide(self, model, domain, weight=2.0, **inputs):
        given = {"domain_conditioning": self.negative, "weight": weight, **inputs}
        return self.graph.add("DomainGuidanceApply", model=model, domain_model=domain, **given)

    def sample(self, model, **changes):
        positive = changes.pop("positive", self.positive)
        return ksampler(self.graph, model, positive, self.negative, self.latent, **changes)


@pytest.fixture(params=STAGES)
def s(request):
    import comfy.supported_models

    if not hasattr(comfy.supported_models, family(request.param)):
        pytest.skip(f"this ComfyUI has no {family(request.param)}, which a later one has")
    return Sculpture(request.param)


def test_weight_zero_gives_the_hosts_latent_bit_for_bit(host, s):
    plain, guided = s.sample(s.model), s.sample(s.guide(s.model, s.of(is_trained=True), weight=0.0))
    assert torch.equal(host.samples(s.graph, guided), host.samples(s.graph, plain))


def test_a_shape_model_without_a_stored_empty_prompt_is_told_of_its_own_conditioning_node(host, s):
    guided = s.guide(s.model, s.of(is_trained=True), domain_conditioning=None)
    del s.graph[guided.id]["inputs"]["domain_conditioning"]
    with pytest.raises(PromptError, match="with a model that reads no text, the negative output of its own conditio"):
        host.samples(s.graph, s.sample(guided))


@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_an_untrained_domain_changes_nothing(host, s, cfg):
    plain, guided = s.sample(s.model, cfg=cfg), s.sample(s.guide(s.model, s.of()), cfg=cfg)
    assert_same(host.samples(s.graph, guided), host.samples(s.graph, plain))


@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_a_domain_adds_the_difference_of_the_two_models_without_a_picture(host, s, cfg):
    """One step, after which a sampler's result is what it took for the clean latent."""
    domain = s.of(is_trained=True)

    def alone(model, prompt):
        return host.samples(s.graph, s.sample(model, positive=prompt, cfg=1.0, steps=1))

    plain = host.samples(s.graph, s.sample(s.model, cfg=cfg, steps=1))
    guided = host.samples(s.graph, s.sample(s.guide(s.model, domain), cfg=cfg, steps=1))
    assert_same(guided, plain + 2.0 * (alone(domain, s.negative) - alone(s.model, s.negative)))
    assert_differs(guided, plain)


def with_lora(minis, s, model, chosen, name):
    """A LoRA on the layers that are `chosen` by their names."""
    state = _random_like(network(family(s.stage)).diffusion_model.state_dict(), 3)
    file = f"{name}_{family(s.stage)}_lora.safetensors"
    save_file(lora({key: value for key, value in state.items() if chosen(key)}), str(minis.root / "loras" / file))
    return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=file, strength_model=1.0)


def test_a_lora_of_the_shape_model_guides_as_a_second_model_with_it(host, minis, s):
    shared, separate = (
        s.guide(s.model, with_lora(minis, s, model, lambda key: ".gate." not in key, "layers"))
        for model in (s.model, s.of())
    )
    guided = host.samples(s.graph, s.sample(shared))
    assert_same(guided, host.samples(s.graph, s.sample(separate)))
    assert_differs(guided, host.samples(s.graph, s.sample(s.model)))


def test_a_lora_on_the_gate_of_a_mixture_of_experts_is_refused_in_a_sentence(host, minis):
    s = Sculpture("Hunyuan3Dv2_1")
    guided = s.guide(s.model, with_lora(minis, s, s.model, lambda key: ".gate." in key, "gates"))
    with pytest.raises(PromptError, match="cannot run alongside the shared weights: load the checkpoint a second time"):
        host.samples(s.graph, s.sample(guided))


@pytest.mark.parametrize("size", [(64, 64), None], ids=["a picture's", "the latent's last two sizes"])
def test_a_mask_is_refused_in_a_sentence_because_a_shape_has_no_picture(host, s, size):
    height, width = size or STAGES[s.stage][-2:]
    mask = s.graph.add("ProbeHalfMask", height=height, width=width)
    guided = s.guide(s.model, s.of(is_trained=True), mask=mask)
    with pytest.raises(PromptError, match="not images, so a mask cannot apply: disconnect the mask"):
        host.samples(s.graph, s.sample(guided))
