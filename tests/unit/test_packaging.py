"""What the pack asks of the environment it is installed into."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import environment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOST_OWNED = {"torch", "torchvision", "torchaudio", "numpy"}
LOWER_BOUND = re.compile(r"[A-Za-z0-9_-]+>=[0-9][0-9.]*")


def dependencies():
    return PROJECT["project"]["dependencies"]


def requirement_lines():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def extra(name):
    return PROJECT["project"]["optional-dependencies"][name]


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower()


def test_the_manager_installs_what_the_project_names_but_for_what_no_node_imports():
    """ComfyUI-Manager installs requirements.txt into the host's environment; diffusers would move huggingface_hub in an
    old one.
    """
    assert sorted(requirement_lines()) == sorted(line for line in dependencies() if name_of(line) != "diffusers")


@pytest.mark.parametrize(
    "requirement", [*dependencies(), *(r for name in ("cli", "demo", "eval", "test") for r in extra(name))]
)
def test_a_requirement_has_a_lower_bound_only_and_is_not_the_hosts(requirement):
    assert LOWER_BOUND.fullmatch(requirement)
    assert name_of(requirement) not in HOST_OWNED


def test_the_launcher_asks_for_the_versions_that_the_project_names():
    def wanted(table):
        return {requirement for module, requirement in table.items() if module != "torch"}

    assert wanted(environment.LIBRARY) == set(dependencies())
    assert wanted(environment.DEMO) == {*dependencies(), *extra("demo")}
    assert wanted(environment.TEST) == {*dependencies(), *extra("test")}
    assert wanted(environment.LINT) == set(extra("lint"))


def test_the_package_list_is_the_library_and_nothing_else():
    library = ROOT / "domain_guidance"
    present = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in library.rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == present


def test_a_users_type_checker_is_told_that_the_library_has_types():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    assert "py.typed" in data["domain_guidance"] and (ROOT / "domain_guidance" / "py.typed").is_file()


def test_the_registry_gets_the_fields_it_requires():
    project, comfy = PROJECT["project"], PROJECT["tool"]["comfy"]
    assert "comfyui" not in project["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (ROOT / project["license"]["file"]).read_text(encoding="utf-8").startswith("MIT License")
    assert project["urls"]["Repository"].startswith("https://")
    assert comfy["PublisherId"] and comfy["DisplayName"] == "Domain Guidance"
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])


def test_the_registry_shows_pictures_that_the_repository_has():
    from PIL import Image

    comfy, repository = PROJECT["tool"]["comfy"], PROJECT["project"]["urls"]["Repository"]
    raw = repository.replace("github.com", "raw.githubusercontent.com") + "/main/"
    sizes = [Image.open(ROOT / comfy[name].removeprefix(raw)).size for name in ("Icon", "Banner")]
    assert sizes[0][0] == sizes[0][1] <= 400 and sizes[1][0] > 3 * sizes[1][1]


def test_the_registrys_package_holds_what_runs_and_no_tests(tmp_path):
    """By git, whose rules .comfyignore follows."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    left_out = ["-c", f"core.excludesFile={ROOT / '.comfyignore'}", "ls-files", "-ci", "--exclude-standard"]
    everything, without = (
        set(subprocess.run(["git", *asked], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n"))
        for asked in (["ls-files"], left_out)
    )
    package = everything - without - {""}
    for needed in ("domain_guidance", "nodes", "workflows", "web", "launcher", "docs", "run.py", "requirements.txt"):
        wanted = {path for path in everything if path.split("/")[0] == needed}
        assert wanted and wanted <= package, needed
    assert {path for path in package if path.startswith(("tests/", "benchmarks/", "."))} == {
        "tests/workflows/01-first-look.api.json",
        ".comfyignore",
        ".gitignore",
    }


def test_the_version_has_one_source_and_whoever_repeats_it_agrees():
    import domain_guidance

    version = PROJECT["project"]["version"]
    assert domain_guidance.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", version]


def test_an_installed_library_asks_pip_and_not_another_projects_file(tmp_path, monkeypatch):
    import domain_guidance

    monkeypatch.setattr(domain_guidance, "version", {"domain-guidance": "1.2.3"}.get)
    assert domain_guidance._version(tmp_path) == "1.2.3"
    (tmp_path / "pyproject.toml").write_text('name = "other"\nversion = "9.9.9"\n')
    assert domain_guidance._version(tmp_path) == "1.2.3"
    (tmp_path / "pyproject.toml").write_text('name = "domain-guidance"\nversion = "0.2.0"\n')
    assert domain_guidance._version(tmp_path) == "0.2.0"


def test_the_commit_hook_formats_as_the_project_does():
    (revision,) = re.findall(r"ruff-pre-commit\n +rev: v(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    (low, high) = re.fullmatch(r"ruff>=(.+),<(.+)", environment.LINT["ruff"]).groups()
    parts = [[int(part) for part in version.split(".")] for version in (low, revision, high)]
    assert parts[0] <= parts[1] < parts[2]


def workflow(name):
    return (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")


def test_the_oldest_comfyui_that_is_tested_is_the_oldest_that_the_project_allows():
    (tested,) = re.findall(r"comfyui: \[(.*)\]", workflow("tests"))
    oldest = PROJECT["tool"]["comfy"]["requires-comfyui"].removeprefix(">=")
    assert json.loads(f"[{tested}]") == [f"v{oldest}", "master"]


@pytest.mark.skipif(sys.platform == "win32", reason="the release runs on Linux, in its shell")
def test_a_tag_of_another_version_is_not_published():
    """The line of the release workflow, run as it stands there."""
    (line,) = re.findall(r"run: (test .*)", workflow("release"))
    for tag, code in ((f"v{PROJECT['project']['version']}", 0), ("v99.0.0", 1)):
        environ = os.environ | {"GITHUB_REF_NAME": tag}
        assert subprocess.run(["bash", "-c", line], cwd=ROOT, env=environ, check=False).returncode == code


def library_modules():
    """Every module of the library that nodes may import; commands (`__main__`, the demo) are not among them."""
    files = (path for path in (ROOT / "domain_guidance").rglob("*.py") if path.stem not in ("__main__", "demo"))
    names = (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files)
    return sorted(name.removesuffix(".__init__") for name in names)


def test_importing_the_library_imports_nothing_slow():
    slow = ("diffusers", "transformers", "accelerate", "sklearn", "torchvision")
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {slow!r} if name in sys.modules]))"
    )
    modules = library_modules()
    assert "domain_guidance.domains.domain_file" in modules
    answer = subprocess.run(
        [sys.executable, "-c", program, json.dumps(modules)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "domain_guidance").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_library_knows_no_host(path):
    imports = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    host = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "execution", "server"}
    assert not host & {name.split(".")[0] for name in imports}
