"""The choice of a preset on Train Domain and Adapt Generator, from the graph to the file's card."""

import adapt_scenes
import pytest
import training_scenes
from adapt_scenes import Adaptation
from training_scenes import Training


@pytest.fixture(autouse=True)
def probes(host, base_directory):
    training_scenes.register(base_directory)
    adapt_scenes.register(host)


@pytest.fixture
def read_card(host):
    return host.library("domain_guidance.domains.domain_file").read_card


@pytest.fixture
def short(host, monkeypatch):
    """Presets of a few steps, on both nodes."""
    training, adaptation = (host.library(f"domain_guidance.{part}.presets") for part in ("training", "adaptation"))
    values = {"steps": 2, "batch_size": 1, "accumulation": 2, "preview_every": 0}
    monkeypatch.setitem(training.TRAINING_PRESETS, "quick look", {**values, "evaluate_every": 1})
    monkeypatch.setitem(adaptation.ADAPTATION_PRESETS, "quick look", values)
    return values


def test_without_the_choice_a_training_is_that_of_the_nodes_own_numbers(host, minis, base_directory, read_card):
    names = {"absent": {}, "own numbers": {"preset": "own"}}
    files = []
    for name, changes in names.items():
        training = Training(minis, save_name=name, steps=2, evaluate_every=0, **changes)
        host.value(training.graph, training.node)
        files.append(training_scenes.result_of(training, base_directory))
    cards = [read_card(file).training for file in files]
    assert cards[0] == cards[1] and cards[0]["preset"] == "own" and cards[0]["steps"] == 2
    first, second = map(_tensors, files)
    assert first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def _tensors(file):
    from safetensors.torch import load_file

    return load_file(str(file))


def test_a_preset_sets_the_numbers_that_it_names_and_the_card_says_which_it_was(
    host, minis, base_directory, read_card, short
):
    training = Training(minis, save_name="a quick look", preset="quick look", learning_rate=2e-3)
    host.value(training.graph, training.node)
    record = read_card(training_scenes.result_of(training, base_directory)).training
    assert (record["preset"], record["steps"], record["trained_steps"]) == ("quick look", 2, 2)
    assert (record["batch_size"], record["accumulation"], record["evaluate_every"]) == (1, 2, 1)
    assert record["learning_rate"] == 2e-3  # no preset's business


def test_a_number_that_a_preset_overrules_is_named_in_one_line(host, minis, short, caplog):
    training = Training(minis, save_name="overruled", preset="quick look", steps=7, batch_size=1, evaluate_every=250)
    with caplog.at_level("WARNING"):
        host.value(training.graph, training.node)
    (said,) = [record.getMessage() for record in caplog.records if "Preset 'quick look'" in record.getMessage()]
    assert "2 steps of 2 images" in said and "precedence over steps 7 on the node" in said
    assert "batch_size" not in said and "evaluate_every" not in said  # they are as the node has them from the start


def test_a_preset_of_an_adaptation_is_in_its_generators_card(host, minis, base_directory, short):
    adaptation = Adaptation(minis, save_name="quick generator", preset="quick look")
    host.value(adaptation.graph, adaptation.node)
    card = (
        host.library("domain_guidance.generators")
        .read_generator_file(adapt_scenes.result_of(adaptation, base_directory))
        .card
    )
    assert (card.training["preset"], card.training["trained_steps"], card.training["accumulation"]) == (
        "quick look",
        2,
        2,
    )


@pytest.mark.parametrize("node", ["DomainGuidanceTrain", "DomainGuidanceAdaptGenerator"])
def test_every_number_of_every_preset_is_one_that_the_node_takes_and_its_tooltip_shows_it(host, node):
    import nodes

    schema = nodes.NODE_CLASS_MAPPINGS[node].define_schema()
    inputs = {entry.id: entry for entry in schema.inputs}
    assert inputs["preset"].default == "own" and inputs["preset"].optional
    presets = inputs["preset"].as_dict()["presets"]
    assert inputs["preset"].options == ["own", *presets]
    for values in presets.values():
        for name, value in values.items():
            assert inputs[name].min <= value <= inputs[name].max
        assert f"{values['steps']:,} steps" in inputs["preset"].tooltip
