"""The pages for readers: their links lead somewhere, the README is short and names everything that the pack has."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PAGES = [*WRITTEN, ROOT / "benchmarks" / "README.md"]  # the last is made by a script
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```.*?^```|^<!-- begin .*?^<!-- end|^<!-- made .*?^<!-- end", re.DOTALL | re.MULTILINE)


def links(page):
    """(page, anchor) of each link of a page to a file of the repository; a bare anchor leads to the page itself."""
    text = BLOCKS.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there(page):
    assert [str(path) for path, _ in links(page) if not path.exists()] == []
    assert [f"{path}#{anchor}" for path, anchor in links(page) if anchor and anchor not in anchors(path)] == []


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached:
            reached.add(page)
            waiting += [path for path, _ in links(page) if path.suffix == ".md"]
    assert {page.resolve() for page in PAGES} <= reached


def test_the_readme_has_at_most_1200_words_and_says_on_its_first_screen_what_is_not_tested():
    assert len(README.split()) <= 1200
    first_screen = README[: README.index("![")]
    assert "GPU" in first_screen and "real checkpoint" in first_screen


def test_the_readme_names_every_node_and_a_page_every_template():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py")]
    names = [
        name
        for source in sources
        for name in re.findall(r'(?:node_id="\w+",\s+display_name=|^NAME = )"(.*?)"', source, re.MULTILINE)
    ]
    assert len(names) == len(json.loads((ROOT / "tests" / "contract" / "nodes.json").read_text(encoding="utf-8")))
    assert [name for name in names if name not in README] == []
    templates = [path.stem for path in (ROOT / "workflows").glob("*.json")]
    page = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    assert templates and [template for template in templates if template not in page] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_template_that_a_page_names_is_there(page):
    named = re.findall(r"\btemplate (\d+-[a-z][\w.-]*\w)", page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert [name for name in named if not (ROOT / "workflows" / f"{name}.json").exists()] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_is_wrapped_at_120_columns(page):
    lines = BLOCKS.sub("", page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))] == []
