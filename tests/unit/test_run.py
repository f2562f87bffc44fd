"""The two commands: which ComfyUI and which Python they pick, what they install where, and what counts as a
passed run.
"""

import contextlib
import io
import json
import os
import signal
import site
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import run
from launcher import LauncherError, aloud, chromium, comfyui, environment, lint, lock, pytest_run, versions


def make_comfyui(folder):
    for name in ("main.py", "nodes.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("comfy", "comfy_extras", "custom_nodes"):
        (folder / name).mkdir()
    return folder


def write_comfy_cli_settings(home, encoding="utf-8", **settings):
    folder = {"win32": "AppData/Local", "darwin": "Library/Application Support"}.get(sys.platform, ".config")
    file = home / folder / "comfy-cli" / "config.ini"
    file.parent.mkdir(parents=True)
    file.write_text("[DEFAULT]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()), encoding=encoding)


def test_comfyui_path_wins_over_every_other_place(tmp_path):
    named, enclosing = make_comfyui(tmp_path / "named"), make_comfyui(tmp_path / "enclosing")
    found = comfyui.find_comfyui(enclosing / "custom_nodes" / "pack", {"COMFYUI_PATH": str(named)}, tmp_path)
    assert found == named


def test_a_wrong_comfyui_path_is_said_and_not_replaced_by_another_installation(tmp_path):
    enclosing = make_comfyui(tmp_path / "enclosing")
    with pytest.raises(LauncherError, match="not a ComfyUI folder"):
        comfyui.find_comfyui(enclosing / "custom_nodes" / "pack", {"COMFYUI_PATH": str(tmp_path)}, tmp_path)


def test_the_enclosing_installation_is_found_through_a_link_too(tmp_path):
    host, pack = make_comfyui(tmp_path / "host"), tmp_path / "pack"
    pack.mkdir()
    link = host / "custom_nodes" / "pack"
    link.symlink_to(pack, target_is_directory=True)
    assert comfyui.find_comfyui(link, {}, tmp_path) == host
    assert comfyui.find_comfyui(pack, {}, tmp_path) is None


def test_comfy_clis_set_default_comes_before_its_built_in_one(tmp_path):
    built_in = make_comfyui(list(comfyui.comfy_cli_workspaces(tmp_path))[-1])
    assert comfyui.find_comfyui(tmp_path / "pack", {}, tmp_path) == built_in
    chosen = make_comfyui(tmp_path / "100% mine")
    write_comfy_cli_settings(tmp_path, default_workspace=chosen)
    assert comfyui.find_comfyui(tmp_path / "pack", {}, tmp_path) == chosen


@pytest.mark.parametrize("folder", ["/" + 300 * "x", "~no-such-user/ComfyUI"], ids=["too long", "of nobody"])
def test_a_workspace_that_cannot_be_looked_into_is_passed_over(tmp_path, folder):
    write_comfy_cli_settings(tmp_path, default_workspace=folder)
    assert comfyui.find_comfyui(tmp_path / "pack", {}, tmp_path) is None
    assert list(comfyui.host_pythons(tmp_path, {}, tmp_path)) == []


@pytest.mark.parametrize("folder", [300 * "x", "~no-such-user/it"], ids=["too long", "of nobody"])
def test_a_setting_that_cannot_be_looked_up_is_said_as_any_wrong_one(tmp_path, folder):
    with pytest.raises(LauncherError, match="not a ComfyUI folder"):
        comfyui.find_comfyui(tmp_path, {"COMFYUI_PATH": folder}, tmp_path)
    with pytest.raises(LauncherError, match="CHROMIUM is .*not a program"):
        chromium.find_chromium({"CHROMIUM": folder})


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_comfy_clis_settings_are_read_in_utf_8_and_in_the_systems_own_encoding(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(comfyui.locale, "getpreferredencoding", lambda do_setlocale: "cp1252")
    chosen = make_comfyui(tmp_path / "J\u00fcrgen")
    write_comfy_cli_settings(tmp_path, encoding=encoding, default_workspace=chosen)
    assert comfyui.find_comfyui(tmp_path / "pack", {}, tmp_path) == chosen


@pytest.mark.parametrize(
    "content", ["[DEFAULT]\nkey = J\u00fcrgen".encode("cp1252"), b"[DEFAULT]\ndefault_workspace = /x\n["]
)
def test_comfy_clis_settings_that_cannot_be_read_are_passed_over(tmp_path, monkeypatch, content):
    monkeypatch.setattr(comfyui.locale, "getpreferredencoding", lambda do_setlocale: "utf-8")
    write_comfy_cli_settings(tmp_path)
    comfyui._comfy_cli_settings(tmp_path, sys.platform).write_bytes(content)
    assert [path.name for path in comfyui.comfy_cli_workspaces(tmp_path)] == ["ComfyUI"]


@pytest.mark.parametrize(
    "platform, place",
    [("linux", "comfy/ComfyUI"), ("darwin", "Documents/comfy/ComfyUI"), ("win32", "Documents/comfy/ComfyUI")],
)
def test_comfy_clis_built_in_place_differs_by_system(tmp_path, platform, place):
    assert list(comfyui.comfy_cli_workspaces(tmp_path, platform)) == [tmp_path / place]


def test_no_comfyui_is_an_answer_and_not_an_error(tmp_path):
    assert comfyui.find_comfyui(tmp_path / "pack", {}, tmp_path) is None


def test_the_portable_builds_python_is_found_beside_it(tmp_path):
    host = make_comfyui(tmp_path / "ComfyUI")
    python = tmp_path / "python_embeded" / "python.exe"
    python.parent.mkdir()
    python.touch()
    assert list(comfyui.host_pythons(host, {}, tmp_path)) == [python]


def test_this_python_is_probed_for_what_it_lacks():
    python = environment.probe(Path(sys.executable), ["json", "no_such_module"])
    assert python.missing == ("no_such_module",)
    assert tuple(python.version) == sys.version_info[:2]
    assert python.has(["torch", "json"]) and not python.has(["no_such_module"])


@pytest.fixture
def fake_torch(tmp_path, monkeypatch):
    """What this Python imports as torch instead of its own."""
    folder = tmp_path / "path" / "torch"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    return folder / "__init__.py"


def test_a_torch_from_before_xpu_and_mps_is_one_without_an_accelerator(fake_torch):
    fake_torch.write_text("class cuda: is_available = lambda: False\nclass backends: pass\n")
    python = environment.probe(Path(sys.executable), ["torch"])
    assert python.has(["torch"]) and not python.accelerator


def test_a_python_whose_torch_fails_in_any_way_is_one_without_torch(fake_torch):
    fake_torch.write_text("raise RuntimeError('built for another NumPy')")
    assert environment.probe(Path(sys.executable), ["torch"]).missing == ("torch",)


def test_something_that_is_no_python_is_passed_over(tmp_path):
    assert environment.probe(tmp_path / "absent", []) is None
    assert environment.first_with(["json"], [tmp_path / "absent", Path(sys.executable)], []).path == Path(
        sys.executable
    )


@pytest.mark.parametrize(
    "words", [r"os.write(2, b'\xff')", "atexit.register(print, 'bye')", "atexit.register(os.abort)"]
)
def test_what_a_torch_says_or_breaks_beside_the_answer_does_not_matter(fake_torch, monkeypatch, words):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    fake_torch.write_text(
        f"import atexit, os\n{words}\nclass cuda: is_available = lambda: True\nclass backends: pass\n"
    )
    assert environment.probe(Path(sys.executable), ["torch"]).cuda


@pytest.mark.skipif(sys.platform == "win32", reason="a script that stands in for a program")
def test_a_program_that_answers_nothing_is_passed_over_as_no_python(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'No Python is selected'\n")
    program.chmod(0o755)
    assert environment.probe(program, []) is None


def test_a_python_whose_torch_ends_the_process_can_still_make_environments(fake_torch):
    fake_torch.write_text("import os\nos.abort()\n")
    assert environment.probe(Path(sys.executable), ["torch"]) is None
    assert environment.probe(Path(sys.executable), []).can_make_environments


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Descriptions of installed packages that this Python finds before its own: (folder, name, version, author)."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def describe(folder, name, version, author="x"):
        (tmp_path / folder).mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nAuthor: {author}\n"
        (tmp_path / folder / "METADATA").write_text(text, encoding="latin-1")

    def found():
        installed = environment.probe(Path(sys.executable), []).installed
        return [pin for pin in installed if pin.startswith("an-invented")]

    return describe, found


def test_a_package_described_in_latin_1_does_not_hide_its_python(packages):
    describe, found = packages
    describe("an_invented_one-1.0.dist-info", "an-invented-one", "1.0", "J\u00f6rg")
    describe("an_invented_two-2.0.dist-info", "an-invented-two", "2.0")
    assert found() == ["an-invented-two==2.0"]


def test_a_package_with_two_spellings_is_held_at_one_version(packages, tmp_path, monkeypatch):
    describe, found = packages
    describe("an_invented_one-1.0.dist-info", "an_invented_one", "1.0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(tmp_path / "second")]))
    describe("second/an_invented_one-2.0.dist-info", "an-invented-one", "2.0")
    assert found() == ["an-invented-one==1.0"]


def test_what_pip_leaves_of_a_removal_that_failed_holds_no_package(packages):
    describe, found = packages
    describe("~n_invented_one-1.0.dist-info", "an-invented-one", "1.0")
    assert found() == []


def test_a_folder_without_a_module_is_no_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "an_emptied_package" / "__pycache__").mkdir(parents=True)
    assert environment.probe(Path(sys.executable), ["an_emptied_package"]).missing == ("an_emptied_package",)


def test_a_python_that_has_everything_is_used_as_it_is(tmp_path):
    base = environment.Python(Path(sys.executable), sys.version_info[:2])
    assert environment.ready(base, environment.TEST, tmp_path / "environments") is base
    assert not (tmp_path / "environments").exists()


def test_an_environment_laid_over_a_python_imports_its_torch_and_keeps_its_own_folder_first(tmp_path):
    base = environment.probe(Path(sys.executable), [])
    environment._make(tmp_path / "layer", base)
    layered = environment.probe(comfyui.environment_python(tmp_path / "layer"), ["torch", "pytest"])
    assert layered.has(["torch", "pytest"])
    assert Path(layered.folders[0]).is_relative_to(tmp_path / "layer")
    assert [name for name in layered.installed if name.startswith("torch==")] == [
        name for name in base.installed if name.startswith("torch==")
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="file names there are no bytes")
def test_a_python_whose_path_is_no_utf_8_has_an_environment_of_its_own_too():
    first, second = (environment.Python(Path(os.fsdecode(name)), (3, 12)) for name in (b"/J\xf6rg", b"/J\xfcrg"))
    assert environment._layer_name(first) != environment._layer_name(second)


def test_a_folder_of_pythonpath_is_not_written_into(tmp_path, monkeypatch):
    foreign, place = tmp_path / "foreign" / "site-packages", tmp_path / "own" / "site-packages"
    foreign.mkdir(parents=True)
    place.mkdir(parents=True)
    own = environment.Python(Path("python"), (3, 12), folders=(str(foreign), str(place)), prefix=str(tmp_path / "own"))
    monkeypatch.setattr(environment, "probe", lambda path, modules: own)
    environment._show_packages(own.path, environment.Python(own.path, own.version, folders=("base",)))
    assert not list(foreign.iterdir()) and list(place.iterdir())


@pytest.mark.parametrize("folder", ["J\u00f6rg/site-packages", "J\udcf6rg/site-packages"], ids=["umlaut", "no UTF-8"])
def test_a_base_in_any_folder_is_shown_whatever_encoding_a_python_reads_pth_files_in(tmp_path, monkeypatch, folder):
    own = environment.Python(Path(sys.executable), sys.version_info[:2], folders=(str(tmp_path),), prefix=str(tmp_path))
    monkeypatch.setattr(environment, "probe", lambda path, modules: own)
    environment._show_packages(own.path, environment.Python(own.path, own.version, folders=(folder,)))
    shown = []
    monkeypatch.setattr(site, "addsitedir", shown.append)
    exec((tmp_path / "packages_of_the_base.pth").read_text(encoding="ascii"))
    assert shown == [folder]


@pytest.fixture
def commands(monkeypatch):
    """What would be run instead of running it; the probe of what was made answers that all is there."""
    seen = []

    def record(command, *_, **__):
        seen.append(command)
        return 0

    answers = iter([environment.Python(Path(sys.executable), sys.version_info[:2], folders=("made",))] * 9)
    monkeypatch.setattr(environment, "run_aloud", record)
    monkeypatch.setattr(environment, "probe", lambda path, modules: next(answers))
    monkeypatch.setattr(environment, "_show_packages", lambda python, base: None)
    return seen


def test_what_a_found_python_lacks_goes_beside_it_and_moves_none_of_its_packages(tmp_path, commands, capsys):
    base = environment.Python(
        Path("host/python"), sys.version_info[:2], ("pytest",), installed=("torch==2.11.0", "numpy==2.4.6")
    )
    folder = tmp_path / environment._layer_name(base)
    folder.mkdir(parents=True)
    environment.ready(base, environment.TEST, tmp_path)
    make, install = commands
    assert make == [str(base.path), "-m", "venv", "--clear", str(folder)]
    assert install[0] == str(comfyui.environment_python(folder)) and install[-1] == environment.TEST["pytest"]
    assert (folder / "constraints.txt").read_text().split() == ["torch==2.11.0", "numpy==2.4.6"]
    assert "pytest" in capsys.readouterr().out


def test_a_package_of_the_base_with_a_version_that_pip_refuses_is_held_at_none(tmp_path, commands):
    installed = ("distro-info==1.1build1", "torch==2.11.0+cu128")
    base = environment.Python(Path("host/python"), sys.version_info[:2], ("pytest",), installed=installed)
    folder = tmp_path / environment._layer_name(base)
    folder.mkdir(parents=True)
    environment.ready(base, environment.TEST, tmp_path)
    assert (folder / "constraints.txt").read_text().split() == ["torch==2.11.0+cu128"]


def test_without_any_torch_the_size_is_said_before_a_full_environment_is_made(tmp_path, commands, capsys):
    (tmp_path / "own").mkdir()
    environment.ready(None, environment.DEMO, tmp_path, torch="torch==2.9")
    make, install = commands
    assert make[0] == sys.executable
    assert {"torch==2.9", environment.DEMO["sklearn"]} <= set(install) and "torch" not in install
    assert "GB" in capsys.readouterr().out


def test_pip_is_told_to_install_into_our_environment_whatever_its_settings_say(tmp_path, commands):
    (tmp_path / "own").mkdir()
    environment.ready(None, environment.DEMO, tmp_path)
    assert "--no-user" in commands[1]


@pytest.mark.parametrize(
    "word, asked",
    [
        ("2.6.0", "torch==2.6.0"),
        ("2.9.1+cpu", "torch==2.9.1+cpu"),
        ("2.6.*", "torch==2.6.*"),
        (">=2.6,<2.8", "torch>=2.6,<2.8"),
        ("torch==2.6.0", "torch==2.6.0"),
        ("torch-2.6.0-cp312-cp312-linux_x86_64.whl", "torch-2.6.0-cp312-cp312-linux_x86_64.whl"),
        ("wheels/2.6.0", "wheels/2.6.0"),
    ],
)
def test_the_word_after_torch_may_be_a_version_bounds_a_wheel_file_or_a_requirement(tmp_path, commands, word, asked):
    (tmp_path / "own").mkdir()
    environment.ready(None, environment.DEMO, tmp_path, torch=word)
    assert asked in commands[1]


def test_a_word_after_torch_that_pip_would_take_for_another_package_is_refused(tmp_path, commands):
    with pytest.raises(LauncherError, match="'cpu'.*neither a version nor a wheel file"):
        environment.ready(None, environment.DEMO, tmp_path, torch="cpu")
    assert commands == []


@pytest.mark.parametrize(
    "word",
    [
        "1",
        "1.0",
        "v2.6",
        "2!1.0",
        "1.0a1",
        "1.0.rc2",
        "1.0-1",
        "1.0.post3",
        "1.0.dev4",
        "1.0+cu128",
        "1.0+ubuntu.1",
        "1.1build1",
        "1.0+",
        "1..0",
        "1.0-x",
        "x",
    ],
)
def test_a_version_is_what_packaging_takes_for_one(word):
    version = pytest.importorskip("packaging.version")
    try:
        version.Version(word)
    except version.InvalidVersion:
        assert not versions.is_version(word)
    else:
        assert versions.is_version(word)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("def test_a(): pass\ndef test_b(): assert 0", (1, 1, 0, False)),
        ("import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip()", (1, 0, 1, True)),
        ("import pytest\ndef test_b(): pytest.skip()", (0, 0, 1, False)),
        ("", (0, 0, 0, False)),
        ("import absent_module", (0, 1, 0, False)),
    ],
    ids=["failed", "passed", "all skipped", "no test", "not importable"],
)
def test_a_part_is_good_only_if_tests_were_executed_and_none_failed(tmp_path, source, expected):
    (tmp_path / "test_it.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    part = pytest_run.run_part("part", Path(sys.executable), tmp_path, cwd=tmp_path, settings=tmp_path / "pytest.ini")
    assert (part.passed, part.failed, part.skipped, part.good) == expected
    assert str(part).startswith("part: ")


@pytest.mark.parametrize("aloud", [True, False])
def test_a_part_that_runs_beside_another_says_what_it_says_by_itself(tmp_path, capfd, aloud):
    (tmp_path / "test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 'left' == 'right'")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    settings = {"cwd": tmp_path, "settings": tmp_path / "pytest.ini"}

    def work(output):
        return [
            pytest_run.run_part(name, Path(sys.executable), tmp_path, **settings, output=output)
            for name in ("first", "second")
        ]

    with pytest_run.beside(work, aloud=aloud) as running:
        pass
    parts = running.result()
    assert [(part.name, part.passed, part.failed) for part in parts] == [("first", 1, 1), ("second", 1, 1)]
    assert capfd.readouterr().out.count("1 failed, 1 passed") == 2


PASSED = "3 passed, 0 failed, 0 skipped"
NO_GPU = "GPU tests: left out, because this Python's torch sees no CUDA device"


@pytest.fixture
def test_command(monkeypatch, capsys, tmp_path):
    """`run.py test` with tests that all pass: its exit code and its closing lines, one for a part."""

    def command(comfyui_found, usable, browser, ready=lambda base, *_: base, checks=(), cuda=False):
        python = environment.Python(Path(sys.executable), sys.version_info[:2], cuda=cuda)
        found = tmp_path if comfyui_found else None
        monkeypatch.setattr(run, "prepare", lambda needed, options: (found, usable, python))
        monkeypatch.setattr(chromium, "find_chromium", lambda: browser)
        monkeypatch.setattr(environment, "ready", ready)
        monkeypatch.setattr(lint, "lint", lambda python, pack: list(checks))
        monkeypatch.setattr(pytest_run, "run_part", lambda name, *_, **__: pytest_run.Part(name, 0, passed=3))
        code = run.test(run.parser().parse_args(["test"]))
        return code, capsys.readouterr().out.rpartition("\n\n")[2].splitlines()

    return command


def test_a_comfyui_that_no_python_here_can_run_makes_the_test_command_fail(test_command):
    assert test_command(True, False, Path("chromium")) == (
        1,
        ["host tests: no test was executed", f"unit tests: {PASSED}"],
    )


def test_a_comfyui_and_a_chromium_bring_their_parts(test_command):
    unit, host, browser = (f"{name} tests: {PASSED}" for name in ("unit", "host", "browser"))
    assert test_command(True, True, Path("chromium")) == (0, [host, NO_GPU, unit, browser])
    assert test_command(True, True, None) == (0, [host, NO_GPU, unit])
    assert test_command(True, True, None, cuda=True) == (0, [host, f"GPU tests: {PASSED}", unit])
    assert test_command(False, False, Path("chromium")) == (0, [unit])


def test_browser_tests_that_cannot_be_prepared_are_a_failure_of_their_own(test_command):
    def no_network(base, needed, *_):
        if needed is environment.LINT:
            return base
        raise LauncherError("pip could not install what is missing")

    assert test_command(True, True, Path("chromium"), no_network) == (
        1,
        [f"host tests: {PASSED}", NO_GPU, f"unit tests: {PASSED}", "browser tests: no test was executed"],
    )


def test_lint_that_found_something_makes_the_test_command_fail_and_its_tests_still_run(test_command):
    checks = [lint.Check("ruff check", 1), lint.Check("ruff format", 0)]
    assert test_command(False, False, None, checks=checks) == (
        1,
        ["ruff check: failed, see above", "ruff format: clean", f"unit tests: {PASSED}"],
    )


def test_a_linter_that_cannot_be_had_is_said_and_does_not_fail_the_tests(test_command):
    def no_network(*_):
        raise LauncherError("pip could not install what is missing")

    assert test_command(False, False, None, no_network) == (
        0,
        ["lint: did not run (pip could not install what is missing)", f"unit tests: {PASSED}"],
    )


@pytest.fixture
def tool(tmp_path):
    """A module that answers as a tool does: its version, then what it is told to say of the code."""

    def make(version="sys.exit(0)", verdict="sys.exit(0)"):
        (tmp_path / "a_tool.py").write_text(f"import sys\nif '--version' in sys.argv: {version}\n{verdict}\n")
        return lint.check("a tool", Path(sys.executable), ["a_tool", "check"], tmp_path)

    return make


@pytest.mark.parametrize(
    "verdict, good, said", [("sys.exit(0)", True, "clean"), ("sys.exit(1)", False, "failed, see above")]
)
def test_the_verdict_of_a_tool_is_its_exit_code(tool, monkeypatch, tmp_path, verdict, good, said):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = tool(verdict=verdict)
    assert (check.good, str(check)) == (good, f"a tool: {said}")


def test_a_tool_that_does_not_start_gives_its_last_words_as_the_reason(tool, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = tool(version="sys.exit('first line\\nno route to registry.npmjs.org')", verdict="sys.exit(1)")
    assert (check.good, str(check)) == (True, "a tool: did not run (no route to registry.npmjs.org)")


def test_a_tool_may_say_its_words_in_any_encoding(tool, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert tool(version=r"sys.stderr.buffer.write(b'\x81\xff')").exit_code == 0
    check = tool(version=r"sys.stderr.buffer.write('kein Netz f\u00fcr npm'.encode()); sys.exit(1)")
    assert check.reason == "kein Netz f\u00fcr npm"


def test_the_real_tools_pass_clean_code_and_fail_what_is_not(tmp_path):
    pytest.importorskip("ruff")
    (tmp_path / "clean.py").write_text("value = 1\n")
    assert [check.exit_code for check in lint.lint(Path(sys.executable), tmp_path)] in ([0, 0, 0], [0, 0, None])
    (tmp_path / "unclean.py").write_text("import os\nvalue  : int = 'one'\n")
    found = [check.exit_code for check in lint.lint(Path(sys.executable), tmp_path)]
    assert found in ([1, 1, 1], [1, 1, None])  # None: pyright could not be fetched


def test_a_named_chromium_wins_over_the_path_and_a_wrong_one_is_said(tmp_path):
    for name in ("google-chrome", "chromium", "named"):
        (tmp_path / name).touch(mode=0o755)
        (tmp_path / f"{name}.exe").touch()
    on_path = {"PATH": str(tmp_path)}
    assert chromium.find_chromium(on_path).stem == "chromium"
    assert chromium.find_chromium(on_path | {"CHROMIUM": str(tmp_path / "named")}) == tmp_path / "named"
    assert chromium.find_chromium({"PATH": str(tmp_path / "empty")}) is None
    with pytest.raises(LauncherError, match="CHROMIUM is .*not a program"):
        chromium.find_chromium(on_path | {"CHROMIUM": str(tmp_path)})


def test_the_template_that_the_demo_runs_shows_pictures_with_titles():
    graph = json.loads(run.FIRST_LOOK.read_text(encoding="utf-8"))
    pictures = [node for node in graph.values() if node["class_type"] == "PreviewImage"]
    assert len({node["_meta"]["title"] for node in pictures}) == 3


def test_a_command_that_says_nothing_is_said_to_go_on(capsys):
    command = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(1)"]
    assert aloud.run_aloud(command, "waiting", silence=0.2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "begun" and len(lines) > 1
    assert all(line.startswith("  waiting, ") for line in lines[1:])


def test_what_a_python_says_is_passed_on_whatever_its_code_page(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    monkeypatch.setenv("PYTHONUTF8", "0")  # as on Windows: the child's own is none that can say this
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    assert aloud.run_aloud([sys.executable, "-c", "print('\u4e2d')"], "saying", silence=60) == 0
    assert capsys.readouterr().out == "\u4e2d\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a signal that Windows cannot send to one process")
def test_ctrl_c_ends_a_long_command_with_a_sentence_and_no_traceback(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "import signal, sys, run\n"
        "from launcher import aloud\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "work = [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)']\n"
        "run.demo = lambda options: aloud.run_aloud(work, 'drawing')\n"
        "sys.exit(run.main())\n"
    )
    environ = os.environ | {"PYTHONPATH": str(run.PACK)}
    command = [sys.executable, str(tmp_path / "interrupted.py"), "demo"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environ, start_new_session=True, **streams) as process:
        assert process.stdout.readline() == "1\n"
        os.killpg(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert rest.startswith("Stopped by Ctrl+C") and rest.count("\n") == 1


def test_what_the_output_cannot_show_does_not_end_the_command(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["run.py", "demo"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    monkeypatch.setattr(run, "demo", lambda options: aloud.say("J\u00fcrgen \ufffd"))
    run.main()
    assert written.getvalue().strip() == "J\u00fcrgen ?".encode("cp1252")


@pytest.mark.parametrize("code, shown", [(0, ""), (3, "first\nsecond\n")])
def test_what_a_quiet_command_says_is_shown_only_if_it_fails(capsys, code, shown):
    command = [sys.executable, "-c", f"print('first'); print('second'); raise SystemExit({code})"]
    assert aloud.run_aloud(command, "installing", quiet=True, silence=60) == code
    assert capsys.readouterr().out == shown


def an_interpreter(folder, platform=sys.platform):
    python = comfyui.environment_python(folder, platform)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_pythons_are_looked_for_where_launchers_and_the_desktop_app_keep_them(tmp_path):
    host, home = make_comfyui(tmp_path / "app" / "ComfyUI"), tmp_path / "home"
    pinokio, active = an_interpreter(tmp_path / "app" / "env"), an_interpreter(tmp_path / "active")
    desktop = an_interpreter(home / "chosen" / ".venv")
    settings = {"win32": "AppData/Roaming", "darwin": "Library/Application Support"}.get(sys.platform, ".config")
    file = home / settings / "ComfyUI" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"basePath": str(home / "chosen")}), encoding="utf-8")
    found = list(comfyui.host_pythons(host, {"VIRTUAL_ENV": str(tmp_path / "active")}, home))
    assert found == [pinokio, active, desktop]
    file.write_text("not json", encoding="utf-8")
    assert list(comfyui.host_pythons(host, {}, home)) == [pinokio]


@pytest.mark.parametrize(
    "found, arguments, terminal, answer, expected",
    [
        (True, [], False, "", False),
        (False, [], False, "", True),
        (True, ["--install"], False, "", True),
        (True, [], True, "y", True),
        (False, [], True, "", False),
    ],
)
def test_torch_is_downloaded_beside_a_comfyui_only_if_somebody_agreed(
    monkeypatch, tmp_path, capsys, found, arguments, terminal, answer, expected
):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer + "\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    options = run.parser().parse_args(["demo", *arguments])
    assert run.agreed(tmp_path if found else None, options) is expected
    if found and not arguments:
        assert "run this with the Python that starts it" in capsys.readouterr().out


def test_an_environment_in_which_pip_was_interrupted_is_finished_though_it_looks_complete(
    tmp_path, commands, monkeypatch
):
    (tmp_path / "own").mkdir()
    an_interpreter(tmp_path / "own")
    recorded = environment.run_aloud

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run_aloud", interrupt)
    with pytest.raises(KeyboardInterrupt):
        environment._install(Path("python"), ["diffusers"], tmp_path / "own", None)
    monkeypatch.setattr(environment, "run_aloud", recorded)
    for _ in range(2):  # the second time nothing is left to do
        environment.ready(None, environment.DEMO, tmp_path)
    (install,) = commands  # and no venv, which would throw torch away
    assert install[-5:] == [requirement for name, requirement in environment.DEMO.items() if name != "torch"]


def test_a_second_run_waits_until_the_first_has_made_the_environment(tmp_path, capsys):
    said = []
    with ThreadPoolExecutor(1) as pool:
        with lock.alone(tmp_path / "new" / "own"):
            second = pool.submit(_say_when_alone, tmp_path / "new" / "own", said)
            time.sleep(0.6)
            assert said == []
        second.result(timeout=30)
    assert said == ["alone"]
    assert "waiting for another run that installs into" in capsys.readouterr().out


def _say_when_alone(folder, said):
    with lock.alone(folder, silence=0.2):
        said.append("alone")


def test_another_environment_is_not_waited_for(tmp_path):
    with lock.alone(tmp_path / "own"), lock.alone(tmp_path / "over-12345678"):
        pass


def test_an_environment_is_made_by_one_run_at_a_time(tmp_path, commands, monkeypatch):
    kept = []
    monkeypatch.setattr(environment, "alone", lambda folder: kept.append(folder) or contextlib.nullcontext())
    (tmp_path / "own").mkdir()
    environment.ready(None, environment.DEMO, tmp_path)
    assert kept == [tmp_path / "own"] and len(commands) == 2


def test_a_complete_environment_is_used_where_nothing_can_be_written(tmp_path, commands, monkeypatch):
    an_interpreter(tmp_path / "own")
    monkeypatch.setattr(environment, "alone", None)
    assert environment.ready(None, environment.DEMO, tmp_path).has(environment.DEMO)
    assert commands == []


def test_a_folder_that_cannot_be_written_into_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(LauncherError, match="cannot be written into.*use a clone"),
        lock.alone(tmp_path / "file" / "own"),
    ):
        pass


def test_no_answer_to_the_question_is_a_no(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert run.agreed(tmp_path, run.parser().parse_args(["demo"])) is False


def test_the_demos_picture_may_go_into_a_folder_that_is_not_there_yet(tmp_path):
    picture = run.place_for(tmp_path / "new" / "folder" / "demo.PNG")
    assert picture.parent.is_dir() and not picture.exists()


@pytest.mark.parametrize("out", ["", "demo", "demo.gfi", "file/demo.png"])
def test_a_place_where_no_picture_can_be_written_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, out):
    (tmp_path / "file").touch()
    monkeypatch.setattr(run, "prepare", None)
    with pytest.raises(LauncherError, match="--out is .*: name "):
        run.demo(run.parser().parse_args(["demo", "--out", str(tmp_path / out)]))


def test_nothing_is_made_where_the_download_was_refused(tmp_path, commands):
    with pytest.raises(LauncherError, match="nothing was installed"):
        environment.ready(None, environment.DEMO, tmp_path, agreed=lambda: False)
    assert commands == []


def test_the_size_of_torch_is_said_only_where_torch_is_fetched(capsys, tmp_path):
    environment._announce(["ruff"], tmp_path, None)
    assert "GB" not in capsys.readouterr().out


def test_what_needs_no_torch_is_laid_over_a_python_without_a_question(tmp_path, monkeypatch):
    """The linters, over a Python that has torch and not them."""
    base, asked, installed = environment.Python(Path(sys.executable), (3, 12), missing=("ruff",)), [], []
    monkeypatch.setattr(environment, "_make", lambda *_: None)
    monkeypatch.setattr(environment, "_install", lambda python, absent, *_: installed.extend(absent))
    monkeypatch.setattr(environment, "_checked", lambda python, needed: base)
    assert environment.ready(base, {"ruff": "ruff>=1"}, tmp_path, agreed=lambda: asked.append(1)) is base
    assert (installed, asked) == (["ruff>=1"], [])
