"""Names that users give to files: one that no system could have is refused with its reason, before there is a file."""

import pytest

from domain_guidance.files.file_names import LONGEST, is_plain, refusal

NOT_ON_WINDOWS = {
    "style: anime": "Windows does not allow ':' in names",
    "a*b": "Windows does not allow '*' in names",
    "what?": "Windows does not allow '?' in names",
    "a|b": "Windows does not allow '|' in names",
    "a<b": "Windows does not allow '<' in names",
    "a>b": "Windows does not allow '>' in names",
    'a"b': "Windows does not allow '\"' in names",
    "CON": "Windows keeps 'CON' for a device",
    "prn": "Windows keeps 'prn' for a device",
    "Aux.best": "Windows keeps 'Aux' for a device",
    "nul .old": "Windows keeps 'nul' for a device",
    "COM1": "Windows keeps 'COM1' for a device",
    "lpt9.a.b": "Windows keeps 'lpt9' for a device",
    "COM²": "Windows keeps 'COM²' for a device",
    "a\ud800": "it contains '\\ud800', which is half a character",  # on Linux a byte that is no UTF-8
    "conin$": "Windows keeps 'conin$' for a device",
}
NOWHERE = {
    "": "give a short plain name without folders",
    "../cats": "give a short plain name without folders",
    "a/b": "give a short plain name without folders",
    "a\\b": "give a short plain name without folders",
    "..": "give a short plain name without folders",
    ".hidden": "give a short plain name without folders",
    "a\0b": "it contains the control character '\\x00'",
    "a\nb": "it contains the control character '\\n'",
    "a" * 201: "it takes 201 bytes: give a name of at most 200",
    "猫" * 67: "it takes 201 bytes: give a name of at most 200",
}


@pytest.mark.parametrize(("name", "reason"), [*NOT_ON_WINDOWS.items(), *NOWHERE.items()], ids=ascii)
def test_a_name_that_some_system_cannot_have_is_refused_everywhere_with_its_reason(name, reason):
    said = refusal(name)
    assert "cannot be the name of a file" in said and reason in said
    assert said.isprintable() and said.endswith(".") and said.count(". ") == 0


@pytest.mark.parametrize(
    "name",
    [
        "cats",
        "v1.5 style",
        "猫" * 66,
        "it's (new) #2, 50 %",
        "a" * LONGEST,
        " cats",
        "com0",
        "console",
        "a.con",
        "cats.",
        "cats ",
    ],
)
def test_a_name_that_every_system_can_have_is_taken(name):
    assert refusal(name) == "" and is_plain(name)


def test_whoever_has_a_name_already_that_windows_cannot_have_keeps_it_and_nobody_leaves_the_folder():
    assert all(map(is_plain, NOT_ON_WINDOWS)) and not any(map(is_plain, NOWHERE))
