"""What a user reads of a node before using it: its page, tooltips, names, and where it is listed."""

import importlib.util
import re

import host_process
import pytest

DOCS = host_process.PACK_ROOT / "web" / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
PLAIN = re.compile(r"[A-Z][A-Za-z]*( [A-Z][A-Za-z]*)+")  # Title Case words, no identifiers


@pytest.fixture(scope="module")
def own(host):
    """`{node id: (class, what the frontend is told of it)}` of the pack's nodes."""
    import nodes

    found = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("DomainGuidance")}
    assert len(found) >= 5
    return {name: (node, node.GET_SCHEMA()) for name, node in found.items()}


def widgets_and_sockets(node):
    declared = node.INPUT_TYPES()
    return {
        name: spec[1] if len(spec) > 1 else {}
        for group in ("required", "optional")
        for name, spec in declared.get(group, {}).items()
    }


def listed(page, heading):
    """The names that the items of the list under a heading begin with: "- `a`, `b` (unit): what they do"."""
    _, _, section = page.partition(f"\n## {heading}\n")
    items = [line.partition(": ")[0] for line in section.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    return {name for item in items for name in re.findall(r"`([^`]+)`", item)}


def test_every_node_has_a_page_and_every_page_a_node(own):
    assert sorted(PAGES) == sorted(own), f"the pages are {DOCS}/<node id>.md"


def test_a_page_names_every_input_and_none_that_is_not_there(own):
    for name, (node, _) in own.items():
        assert listed(PAGES[name], "Inputs") == widgets_and_sockets(node).keys(), name


@pytest.fixture(scope="module")
def make_help():
    """The script that writes the pages' lists."""
    spec = importlib.util.spec_from_file_location("make_help", host_process.PACK_ROOT / "docs" / "make_help.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lists_of_a_page_are_those_that_the_script_makes_of_the_schema(own, make_help):
    outdated = [name for name, (node, _) in own.items() if make_help.filled(PAGES[name], node) != PAGES[name]]
    assert outdated == [], "run `cd ComfyUI; python <pack>/docs/make_help.py`"


def test_a_page_without_a_place_for_its_lists_is_refused(own, make_help):
    node, _ = own["DomainGuidanceTerm"]
    with pytest.raises(ValueError, match="0 places for the outputs, expected one"):
        make_help.filled(PAGES["DomainGuidanceTerm"].replace("<!-- /outputs -->", ""), node)


def test_a_page_names_every_output_and_none_that_is_not_there(own):
    for name, (node, _) in own.items():
        assert listed(PAGES[name], "Outputs") == set(node.RETURN_NAMES), name


def test_a_page_has_a_title_a_graph_and_what_to_do_about_errors(own):
    for name, (_, schema) in own.items():
        lines = PAGES[name].splitlines()
        assert lines[0] == f"# {schema.display_name}"
        assert "▶" in PAGES[name], f"{name}: no graph"
        errors = PAGES[name].partition("\n## If something is wrong\n")[2]
        assert errors.count("\n- ") >= 2, name


def test_a_page_fits_the_frontends_narrow_panel(own):
    for name, page in PAGES.items():
        assert not re.search(r"^\|", page, re.MULTILINE), f"{name}: a table is cut off there, use a list"
        graphs = re.findall(r"```\n(.*?)```", page, re.DOTALL)
        assert all(len(line) <= 38 for graph in graphs for line in graph.splitlines()), (
            f"{name}: a graph wider than 38 letters is cut off there"
        )


def test_every_input_and_output_has_a_tooltip(own):
    for name, (node, schema) in own.items():
        assert [entry for entry, facts in widgets_and_sockets(node).items() if not facts.get("tooltip")] == [], name
        assert [output.id for output in schema.outputs if not output.tooltip] == [], name


def test_a_node_is_found_under_plain_words_and_all_in_one_place_of_the_menu(own):
    for name, (_, schema) in own.items():
        assert PLAIN.fullmatch(schema.display_name), schema.display_name
        assert schema.category == "domain guidance", name
        assert schema.description and schema.search_aliases, name
        assert not {schema.display_name.lower()} & {alias.lower() for alias in schema.search_aliases}, name


@pytest.mark.parametrize(
    "typed, node",
    [
        ("style", "DomainGuidanceApply"),
        ("look", "DomainGuidanceApply"),
        ("dataset", "DomainGuidanceTrain"),
        ("3d", "DomainGuidanceViewGenerator"),
        ("domain", "DomainGuidanceApply"),
    ],
)
def test_words_that_people_type_find_a_node(own, typed, node):
    assert typed in own[node][1].search_aliases
