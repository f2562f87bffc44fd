"""What tells one critic from another: the same graph in another session is the same, and every setting that can be told
counts.
"""

import uuid
from dataclasses import dataclass

import pytest
import torch
from critics import Critics, Judged
from mini_models import trained
from scenes import build, control


@pytest.fixture(scope="module")
def identity(host):
    return host.library("nodes.comfy_host.generators.critic_identity")


@dataclass
class Settings:
    weight: float
    mask: torch.Tensor


def patch_with(strength, counted=None):
    """A patch as nodes make them: a function that encloses what was set, and what it counts with."""
    calls = [] if counted is None else counted

    def apply(x):
        calls.append(1)
        return x * strength

    return apply


class Patch:
    """A patch that is an object, as IP-Adapter's are: it holds what it was given, and counts."""

    def __init__(self, picture, weight=1.0):
        self.calls, self.seen, self.given = 3, [1], [{"cond": picture, "weight": weight}]

    def __call__(self, x):
        self.calls += 1
        self.seen.append(self.calls)
        return x


def graph_of(**changed):
    values = {
        "number": 1.5,
        "text": "left",
        "list": [1, 2],
        "tensor": torch.arange(6.0),
        "settings": Settings(2.0, torch.ones(2)),
        "patch": patch_with(0.7),
        "object": Patch(torch.ones(3)),
    }
    return {**values, **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 1.6},
        {"number": "1.5"},
        {"text": "right"},
        {"list": [2, 1]},
        {"list": (1, 2)},
        {"tensor": torch.arange(6.0) + torch.eye(6)[5]},
        {"tensor": torch.arange(6)},
        {"settings": Settings(2.1, torch.ones(2))},
        {"settings": Settings(2.0, torch.zeros(2))},
        {"patch": patch_with(0.8)},
        {"object": Patch(torch.zeros(3))},
        {"object": Patch(torch.ones(3), 0.5)},
        {"more": None},
    ],
    ids=str,
)
def test_every_setting_counts(identity, changed):
    assert identity.digest(graph_of(**changed)) != identity.digest(graph_of())


def test_what_is_new_in_every_session_does_not_count(identity):
    given = {"thing": object(), "id": uuid.uuid4(), object(): 1}
    again = {"id": uuid.uuid4(), "thing": object(), object(): 1}
    assert identity.digest({**graph_of(), **given}) == identity.digest({**again, **graph_of()})
    assert identity.digest(patch_with(0.7, [1, 1, 1])) == identity.digest(patch_with(0.7))
    asked = Patch(torch.ones(3))
    asked(0)
    assert identity.digest(asked) == identity.digest(Patch(torch.ones(3)))


def test_what_contains_itself_has_a_digest(identity):
    loop = {"number": 1}
    loop["self"] = loop
    assert len(identity.digest(loop)) == 16


def critics(host, minis, identity, make):
    """The identity of what `make` puts on a model, twice from files, loaded anew each time."""
    found = []
    for _ in range(2):
        s = build(minis)
        vae = s.graph.add("VAELoader", vae_name="pixel_space")
        values = [host.value(s.graph, link, fresh=True) for link in (make(s), vae, s.positive, s.negative)]
        found.append(identity.critic_identity(*values, 5.0))
    assert found[0] == found[1], "not the same in another session"
    return found[0]


MAKERS = {
    "plain": lambda s: s.model,
    "lora": lambda s: s.graph.add(
        "LoraLoaderModelOnly", model=s.model, lora_name="sd15_lora.safetensors", strength_model=0.5
    ),
    "stronger lora": lambda s: s.graph.add(
        "LoraLoaderModelOnly", model=s.model, lora_name="sd15_lora.safetensors", strength_model=0.6
    ),
    "rescaled": lambda s: s.graph.add("RescaleCFG", model=s.model, multiplier=0.7),
    "rescaled more": lambda s: s.graph.add("RescaleCFG", model=s.model, multiplier=0.8),
    "freeu": lambda s: s.graph.add("FreeU_V2", model=s.model, b1=1.3),
    "freeu more": lambda s: s.graph.add("FreeU_V2", model=s.model, b1=1.4),
    "velocity": lambda s: s.graph.add("ModelSamplingDiscrete", model=s.model, sampling="v_prediction", zsnr=False),
    "zero snr": lambda s: s.graph.add("ModelSamplingDiscrete", model=s.model, sampling="v_prediction", zsnr=True),
    "guided": lambda s: s.guide(s.model, s.load("sd15_tuned.safetensors"), domain_conditioning=s.negative),
    "guided later": lambda s: s.guide(
        s.model, s.load("sd15_tuned.safetensors"), domain_conditioning=s.negative, start_percent=0.2
    ),
    "guided by a lora": lambda s: s.guide(s.model, MAKERS["lora"](s), domain_conditioning=s.negative),
}


def test_what_is_on_a_model_is_told_apart_and_known_again(host, minis, identity):
    minis.lora(), minis.fine_tuned("sd15")
    found = {name: critics(host, minis, identity, make) for name, make in MAKERS.items()}
    distinct = {repr(sorted(each.items())) for each in found.values()}
    assert len(distinct) == len(MAKERS), found


def test_the_loras_that_hang_on_a_prompt_count(host, minis, identity):
    minis.lora()

    def prompt(strength):
        s = build(minis)
        hooks = s.graph.add("CreateHookLoraModelOnly", lora_name="sd15_lora.safetensors", strength_model=strength)
        link = s.graph.add(
            "ConditioningSetProperties", cond_NEW=s.positive, strength=1.0, set_cond_area="default", hooks=hooks
        )
        return identity.digest(host.value(s.graph, link, fresh=True))

    assert prompt(0.5) == prompt(0.5) != prompt(0.6)


def test_a_critic_that_has_been_asked_is_still_itself(host, minis, identity):
    """Patches of other nodes may remember things while they run."""
    critics, judged = Critics.of(host), Judged(host, minis, "sd15_middle")
    control(judged.scene, minis)
    model = judged.graph.add("FreeU_V2", model=guided(judged))
    values = [judged.value(link) for link in (model, judged.vae, judged.scene.positive, judged.scene.negative)]
    before = identity.critic_identity(*values, 5.0)
    judged.ask(critics, model, lambda critic: critic.denoise(torch.randn(1, 4, 8, 8), torch.ones(1)))
    assert identity.critic_identity(*values, 5.0) == before


def guided(judged):
    s = judged.scene
    return s.guide(s.model, s.load_domain(judged.minis.domain("sd15_middle", change=trained)))
