"""Bad input of terms and schedules ends in one sentence, too; and what only looks like too much is not scolded."""

import pytest
from messages import refusal, warnings_of
from mini_models import trained
from scenes import build


def term(s, **inputs):
    return s.graph.add("DomainGuidanceTerm", **{"model": s.model, "conditioning": s.positive, "weight": 1.0, **inputs})


@pytest.mark.parametrize("side", ["conditioning", "minus"])
@pytest.mark.parametrize(
    ("part", "instead"), [("area", "mask"), ("mask", "mask"), ("time range", "start_percent"), ("hook", "term_model")]
)
def test_a_term_whose_prompt_is_a_part_of_the_picture_or_of_the_time(host, minis, side, part, instead):
    """The host puts these into force for a sampler's own prompts; in a term they would be ignored in silence, or
    worse.
    """
    s = build(minis)
    prompt = {
        "area": lambda: s.graph.add(
            "ConditioningSetArea", conditioning=s.prompt(3), width=64, height=64, x=0, y=0, strength=1.0
        ),
        "mask": lambda: s.graph.add("ConditioningSetMask", conditioning=s.prompt(3), mask=s.graph.add("ProbeHalfMask")),
        "time range": lambda: s.graph.add("ConditioningSetTimestepRange", conditioning=s.prompt(3), start=0.2, end=1.0),
        "hook": lambda: s.graph.add(
            "ConditioningSetProperties",
            cond_NEW=s.prompt(3),
            hooks=s.graph.add("CreateHookLora", lora_name=minis.lora(), strength_model=1.0, strength_clip=0.0),
        ),
    }[part]()
    message = refusal(host, s, s.sample(term(s, **{side: prompt})))
    assert instead in message and "Domain Guidance Term" in message


def test_a_term_of_another_text_encoder(host, minis):
    s = build(minis)
    assert "1024 values" in refusal(
        host, s, s.sample(term(s, conditioning=s.graph.add("ProbeConditioning", seed=3, dim=1024)))
    )
    assert "1024 values" in refusal(
        host, s, s.sample(term(s, minus=s.graph.add("ProbeConditioning", seed=3, dim=1024)))
    )


def test_a_term_without_the_pooled_vector_that_the_family_needs(host, minis):
    s = build(minis, "sdxl")
    assert "pooled" in refusal(
        host, s, s.sample(term(s, conditioning=s.graph.add("ProbeConditioning", seed=3, dim=2048, pooled=0)))
    )


def test_a_term_model_of_another_kind_and_one_that_is_guided_itself(host, minis):
    s = build(minis)
    flow = s.graph.add("ModelSamplingSD3", model=s.model, shift=3.0)
    assert "term_model is a flow model" in refusal(host, s, s.sample(term(s, term_model=flow)))
    assert "term_model has domain guidance applied" in refusal(host, s, s.sample(term(s, term_model=term(s))))


def test_reference_prompt_with_a_domain_that_cannot_read_the_prompt(host, minis):
    s = build(minis)
    wide = s.load_domain(minis.domain("sd20"))
    assert "768 values" in refusal(host, s, s.sample(s.guide(s.model, wide, reference="prompt")))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"shape": "linear", "start_percent": 0.5, "end_percent": 0.5}, "percent"),
        ({"shape": "interval", "start_percent": 0.9, "end_percent": 0.2}, "percent"),
        ({"shape": "list", "list": "1, high, 0"}, "'high'"),
        ({"shape": "list", "list": ""}, "commas"),
    ],
)
def test_a_schedule_that_makes_no_sense(host, minis, inputs, words):
    s = build(minis)
    schedule = s.graph.add("DomainGuidanceSchedule", **inputs)
    assert words in refusal(
        host, s, s.sample(s.guide(s.model, s.load_domain(minis.domain(change=trained)), schedule=schedule))
    )


def test_domains_that_take_turns_or_share_the_picture_do_not_count_twice_as_burning(host, minis, caplog):
    """cfg 4 and two weights of 3: at most 7 in any one place and moment."""
    s = build(minis)
    domain, left = s.load_domain(minis.domain(change=trained)), s.graph.add("ProbeHalfMask")
    turns = s.guide(s.guide(s.model, domain, weight=3.0, end_percent=0.4), domain, weight=3.0, start_percent=0.41)
    sides = s.guide(
        s.guide(s.model, domain, weight=3.0, mask=left), domain, weight=3.0, mask=s.graph.add("InvertMask", mask=left)
    )
    for guided in (turns, sides):
        assert not warnings_of(host, s, s.sample(guided, cfg=4.0), caplog, 140)
    both = s.guide(s.guide(s.model, domain, weight=3.0), domain, weight=3.0)
    assert warnings_of(host, s, s.sample(both, cfg=4.0), caplog, 141)
