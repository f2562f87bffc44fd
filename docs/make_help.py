#!/usr/bin/env python3
"""Writes the lists of inputs and outputs on the nodes' help pages: `cd ComfyUI; python <pack>/docs/make_help.py`.

A list stands between the comments `<!-- inputs -->` and `<!-- /inputs -->` (or outputs) of a page, which the host's
help panel does not show. It is made from the node's schema, so that a tooltip is written once; the rest of a page is
written by hand. Run it after changing a tooltip, an input or an output.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "web" / "docs"
LARGEST = 10**9  # a range that ends above it, as a seed's does, says nothing to a reader
COLUMNS = 120
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def filled(page: str, node: Any) -> str:
    """The page with the lists of this node class. Raises ValueError for a page without one of the two places."""
    for kind, lines in (("inputs", inputs(node)), ("outputs", outputs(node))):
        page, places = re.subn(
            rf"(?<=<!-- {kind} -->\n).*?(?=<!-- /{kind} -->)",
            lambda _, lines=lines: "".join(f"{line}\n" for line in lines),
            page,
            flags=re.DOTALL,
        )
        if places != 1:
            raise ValueError(
                f"The page has {places} places for the {kind}, expected one: put <!-- {kind} --> and <!-- /{kind} --> "
                "on lines of their own."
            )
    return page


def inputs(node: Any) -> Iterator[str]:
    """One item for each input: its name, what it may be, and its tooltip."""
    declared = node.INPUT_TYPES()
    for group in ("required", "optional"):
        for name, spec in declared.get(group, {}).items():
            kind, options = ("COMBO" if isinstance(spec[0], list) else spec[0]), (spec[1] if len(spec) > 1 else {})
            facts = _of_widget(kind, options) if kind in WIDGETS else _of_socket(kind, group == "optional")
            yield _item(name, facts, options["tooltip"])


def outputs(node: Any) -> Iterator[str]:
    """One item for each output: its name, its type where that is not its name, and its tooltip."""
    for kind, name, tooltip in zip(node.RETURN_TYPES, node.RETURN_NAMES, node.OUTPUT_TOOLTIPS):
        yield _item(name, [kind] if name != kind else [], tooltip)


def _item(name: str, facts: list[str], tooltip: str) -> str:
    beside = f" ({', '.join(facts)})" if facts else ""
    return textwrap.fill(
        f"- `{name}`{beside}: {tooltip}",
        COLUMNS,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _of_socket(kind: str, optional: bool) -> list[str]:
    return [kind, "optional"] if optional else [kind]


def _of_widget(kind: str, options: dict[str, Any]) -> list[str]:
    facts = ["advanced"] if options.get("advanced") else []
    if kind in ("INT", "FLOAT") and options["max"] <= LARGEST:
        facts.append(f"{_number(options['min'])} to {_number(options['max'])}")
    default = options.get("default")
    if default not in (None, "") and (kind in ("INT", "FLOAT", "STRING", "BOOLEAN") or default in options["options"]):
        facts.append(f'default "{default}"' if kind == "STRING" else f"default {_value(default)}")
    return facts


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.10f}".rstrip("0").rstrip(".")


def main() -> int:
    del sys.argv[1:]  # the host reads them, too
    sys.path[:0] = [os.getcwd()]
    sys.path += [str(ROOT / "tests" / "host")]
    import host_process

    with tempfile.TemporaryDirectory() as folder:
        base = host_process.make_base_directory(Path(folder))
        nodes = host_process.start(base).NODE_CLASS_MAPPINGS
        host_process.load_pack(host_process.install_pack(base))
        for path in sorted(PAGES.glob("*.md")):
            before = path.read_text(encoding="utf-8")
            after = filled(before, nodes[path.stem])
            if after != before:
                path.write_text(after, encoding="utf-8", newline="\n")
                print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
