"""cubiq's real IPAdapter_plus beside the node, with random weights."""

import host_process
import pytest
from mini_models import trained, without_text
from scenes import assert_differs, assert_same, build

PACK = host_process.IP_ADAPTER_PACK
pytestmark = pytest.mark.skipif(
    not PACK.is_dir(), reason=f"IPAdapter_plus is not installed at {PACK}: IP-Adapter was not tested"
)
FREE = {"change": without_text, "form": "text-free"}


def without_text_trained(state):
    return without_text(trained(state))


@pytest.fixture(scope="module", autouse=True)
def ip_adapter_pack(host):
    host_process.load_pack(PACK)


def with_ip_adapter(s, minis, model, weight=1.0):
    return s.graph.add(
        "IPAdapterAdvanced",
        model=model,
        weight=weight,
        image=s.graph.add("ProbeImage", seed=8, height=224, width=224),
        ipadapter=s.graph.add("IPAdapterModelLoader", ipadapter_file=minis.ip_adapter()),
        clip_vision=s.graph.add("ProbeClipVision"),
    )


@pytest.mark.parametrize("node_first", [True, False], ids=["node first", "node last"])
def test_an_untrained_text_based_domain_changes_nothing_under_ip_adapter(host, minis, node_first):
    s = build(minis)
    domain, adapted = s.load_domain(minis.domain()), with_ip_adapter(s, minis, s.model)
    guided = with_ip_adapter(s, minis, s.guide(s.model, domain)) if node_first else s.guide(adapted, domain)
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(adapted)))
    assert_differs(host.samples(s.graph, s.sample(adapted)), host.samples(s.graph, s.sample(s.model)))


@pytest.mark.parametrize(
    "domain",
    [{"change": trained}, FREE, {"change": without_text_trained, "form": "text-free"}],
    ids=["text-based", "text-free, untrained", "text-free, trained"],
)
def test_either_order_gives_one_picture_and_the_domain_acts(host, minis, domain):
    s = build(minis)
    loaded, adapted = s.load_domain(minis.domain(**domain)), with_ip_adapter(s, minis, s.model)
    last = host.samples(s.graph, s.sample(s.guide(adapted, loaded)))
    assert_same(host.samples(s.graph, s.sample(with_ip_adapter(s, minis, s.guide(s.model, loaded)))), last)
    assert_differs(last, host.samples(s.graph, s.sample(adapted)))


@pytest.mark.parametrize("domain", [{"change": trained}, FREE], ids=["text-based", "text-free"])
def test_the_adapter_acts_on_the_domain_branch(host, minis, domain):
    """Weight 1 over cfg 0 samples the domain branch alone, under the image embedding that negatives get: it must be the
    domain model with the adapter, and that must differ from the domain model without it.
    """
    s = build(minis)
    loaded = s.load_domain(minis.domain(**domain))
    branch = host.samples(s.graph, s.sample(s.guide(with_ip_adapter(s, minis, s.model), loaded, weight=1.0), cfg=0.0))
    adapted_domain = with_ip_adapter(s, minis, loaded)
    expected = host.samples(s.graph, s.sample(adapted_domain, cfg=0.0))
    assert_same(branch, expected)
    assert_differs(branch, host.samples(s.graph, s.sample(loaded, cfg=0.0)))


def test_a_term_sees_the_adapter_as_the_samplers_own_prompts_do(host, minis):
    """A term of the positive prompt adds its weight to cfg, a contrast of it with itself is nothing, free or not."""
    s = build(minis)
    adapted = with_ip_adapter(s, minis, s.model)

    def samples(model, **changes):
        return host.samples(s.graph, s.sample(model, **changes))

    def term(weight, **inputs):
        return s.graph.add("DomainGuidanceTerm", model=adapted, conditioning=s.positive, weight=weight, **inputs)

    assert_same(samples(term(2.0)), samples(adapted, cfg=7.0))
    assert_same(samples(term(2.0, minus=s.positive)), samples(adapted))
    assert_same(
        samples(term(2.0, term_model=s.load_domain(minis.domain()), minus=s.positive, reference_model=adapted)),
        samples(adapted),
    )
