"""Synchronise Views beside other nodes: whatever they make of a step's predictions, its views are averaged.

In a single Euler step, what is sampled is the prediction itself, so that the synchronised pictures must be the
library's average of the others.
"""

import pytest
from mesh_scenes import LENS
from mini_models import trained, without_text
from scenes import EMPTY, OTHER, assert_differs, assert_same, build

COUNT, PIXELS, CELLS = 8, 64, 8
STEP = {"steps": 1, "sampler_name": "euler"}


class Views:
    """A mini base whose latents are the views of the toy world's vase."""

    def __init__(self, minis):
        self.s = build(minis, negative=EMPTY, batch=COUNT, size=(CELLS, CELLS))
        self.minis = minis
        toy = self.s.graph.add("DomainGuidanceToyWorld")
        self.mesh_views = self.s.graph.add(
            "DomainGuidanceMeshViews", mesh=toy[8], arrangement="ring", count=COUNT, width=PIXELS, height=PIXELS
        )
        self.domain = self.s.load_domain(minis.domain(change=trained))
        self.other = self.s.load_domain(minis.domain(change=without_text))

    def synchronised(self, model):
        return self.s.graph.add("DomainGuidanceSynchroniseViews", model=model, views=self.mesh_views)


@pytest.fixture
def views(minis):
    return Views(minis)


@pytest.fixture(scope="module")
def average(host):
    """The average of latents [8, C, 8, 8] over the views, from the library."""
    meshes = host.library("domain_guidance.meshes")
    surface = host.library("domain_guidance.toy_world.vase").vase()
    seen = meshes.arrange(surface, "ring", count=COUNT, field_of_view=LENS, height=CELLS, width=CELLS)
    return meshes.correspond(surface, seen).average


def depth_control(views):
    s = views.s
    both = s.graph.add(
        "ControlNetApplyAdvanced",
        positive=s.positive,
        negative=s.negative,
        image=views.mesh_views[1],
        control_net=s.graph.add("ControlNetLoader", control_net_name=views.minis.controlnet()),
    )
    s.positive, s.negative = both[0], both[1]


def regional_prompts(views):
    s = views.s
    left = s.graph.add("ProbeHalfMask", height=PIXELS, width=PIXELS)
    here = s.graph.add("ConditioningSetMask", conditioning=s.positive, mask=left)
    there = s.graph.add(
        "ConditioningSetMask", conditioning=s.prompt(OTHER), mask=s.graph.add("InvertMask", mask=left), strength=0.8
    )
    s.positive = s.graph.add("ConditioningCombine", conditioning_1=here, conditioning_2=there)


def a_domain(views):
    views.s.model = views.s.guide(views.s.model, views.domain)


def two_domains_with_masks(views):
    s = views.s
    left = s.graph.add("ProbeHalfMask")
    s.model = s.guide(s.model, views.domain, mask=left)
    s.model = s.guide(s.model, views.other, weight=1.5, mask=s.graph.add("InvertMask", mask=left))


def all_of_them(views):
    depth_control(views)
    regional_prompts(views)
    two_domains_with_masks(views)


@pytest.mark.parametrize(
    "beside", [depth_control, regional_prompts, a_domain, two_domains_with_masks, all_of_them], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_the_views_are_averaged_whatever_else_made_the_prediction(host, views, average, beside, cfg):
    s = views.s
    bare = host.samples(s.graph, s.sample(s.model, cfg=cfg, **STEP))
    beside(views)
    alone = host.samples(s.graph, s.sample(s.model, cfg=cfg, **STEP))
    together = host.samples(s.graph, s.sample(views.synchronised(s.model), cfg=cfg, **STEP))
    assert_differs(alone, bare)
    assert_differs(together, alone)
    assert_same(together, average(alone))


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_domains_before_and_after_are_the_same_in_every_sampler(host, views, sampler):
    s = views.s
    base, half = s.model, s.graph.add("ProbeHalfMask")
    two_domains_with_masks(views)
    before = views.synchronised(s.model)
    after = s.guide(views.synchronised(base), views.domain, mask=half)
    after = s.guide(after, views.other, weight=1.5, mask=s.graph.add("InvertMask", mask=half))
    one, two = (host.samples(s.graph, s.sample(model, steps=4, sampler_name=sampler)) for model in (before, after))
    assert_same(one, two)
    assert_differs(one, host.samples(s.graph, s.sample(s.model, steps=4, sampler_name=sampler)))
