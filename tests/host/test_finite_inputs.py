"""NaN and infinity are refused in one sentence by every node that takes numbers."""

import math

import pytest
from messages import refusal
from mini_models import trained
from scenes import assert_one_sentence, build


def number_inputs():
    """(node class, input) of every number of every node of the pack."""
    import nodes

    for node_id, node in nodes.NODE_CLASS_MAPPINGS.items():
        if node_id.startswith("DomainGuidance"):
            for inputs in node.INPUT_TYPES().values():
                if isinstance(inputs, dict):
                    yield from ((node, name) for name, spec in inputs.items() if spec[0] == "FLOAT")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_number_of_every_node_must_be_finite(host, value):
    found = list(number_inputs())
    assert len(found) > 40
    for node, name in found:
        for given in (value, [1.0, value]):
            with pytest.raises(ValueError, match=f"^{name} is {value}, expected a number") as caught:
                node.execute(**{name: given})
            assert_one_sentence(str(caught.value))


def test_the_host_lets_nan_through_and_the_node_refuses_it(host, minis):
    s = build(minis)
    guided = s.guide(s.model, s.load_domain(minis.domain(change=trained)), weight=math.nan)
    assert "weight is nan" in refusal(host, s, s.sample(guided))
