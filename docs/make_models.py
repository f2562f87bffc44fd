#!/usr/bin/env python3
"""Writes docs/models.md, the list of model families, from the tests that walk over them.

`cd ComfyUI; python <pack>/docs/make_models.py`. Run it after changing tests/host/families.py, which holds one small
model of every family and what the tests expect of it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
COLUMNS = 120

HEAD = """# Models

This page lists every model class of ComfyUI, as the host tests find it. Each class in the table has been tried as a
tiny network with random weights, on the CPU, loaded by ComfyUI's own detection; **no real checkpoint has been tried
yet**. A class that a later ComfyUI adds fails those tests until it is on this page.

*guided* means, each to a relative error of 5e-6:

- weight 0 gives the same picture, bit for bit, and a domain that equals the base pulls nowhere, also over four steps;
- at each of four steps a term is weight x (domain - reference), in batches of two and with prompts of different
  lengths;
- a mask guides what is inside it, and nothing else, at each of four steps;
- an adapter on shared weights gives what a separately patched copy gives, at each of four steps.

*trained* means that the loss falls, that every trained tensor gets a gradient, and that the file is read back whole,
with the empty prompt it was trained with, by this pack's loader and by ComfyUI's own. `text-free` removes the
cross-attention of a UNet, so it exists for UNets only; other models refuse it in one sentence.

Z-Image, Krea 2, Qwen-Image, Flux.2 and Klein, Anima, Chroma, Lumina 2, HiDream, HunyuanImage, OmniGen2, Stable
Diffusion 3.5 Medium, SDXL with v-prediction, CosXL and Wan are also trained on pieces of a photograph, as the node
trains, with a small VAE: the loss on held-out pieces falls, previews are pictures, every loader reads the file without
a key left over, and *Domain Guidance Report* and *Domain Guidance Sweep* run on the result.

A model of video is trained on pictures as on videos of one frame: a style, but no movement. How well the style carries
over to longer videos has not been tried.
"""
FORMS = ("adapter", "empty-prompt", "side-network", "text-free")


def page(families: Any) -> str:
    """The page for the module tests/host/families.py."""
    parts = [HEAD, _table(families), _refusals(families.MINIS), _not_walked(families.NOT_WALKED)]
    return "\n".join(parts)


def _table(families: Any) -> str:
    rows = [f"| model | class in ComfyUI | guided | {' | '.join(FORMS)} |", f"|{'---|' * (3 + len(FORMS))}"]
    for name, mini in families.MINIS.items():
        same = [other for other, sample in families.SAMPLE_OF.items() if sample == name]
        classes = ", ".join(f"`{own}`" for own in (mini.host_class or name, *same))
        trained = [_cell(not mini.refused)] * 3 + [_cell(families.has_text_free(name))]
        rows.append(f"| {families.TITLES.get(name, name)} | {classes} | yes | {' | '.join(trained)} |")
    return "\n".join(rows) + "\n"


def _cell(works: bool) -> str:
    return "yes" if works else "no"


def _refusals(minis: Mapping[str, Any]) -> str:
    """Each sentence of a refusal, and the models that get it."""
    text = "## What cannot be trained\n\nThe node says so before it encodes an image:\n"
    for sentence in dict.fromkeys(mini.refused for mini in minis.values() if mini.refused):
        names = ", ".join(f"`{name}`" for name, mini in minis.items() if mini.refused == sentence)
        text += f"\n{_filled(f'{names}:')}\n\n{_filled(sentence, '> ')}\n"
    return text


def _not_walked(reasons: Mapping[str, str]) -> str:
    text = "## What has not been tried\n\n"
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(f"`{name}`" for name, own in reasons.items() if own == reason)
        text += _filled(f"- {names}: {reason}.", indent="  ") + "\n"
    return text


def _filled(text: str, start: str = "", indent: str | None = None) -> str:
    return textwrap.fill(
        text,
        COLUMNS,
        initial_indent=start,
        subsequent_indent=start if indent is None else indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.path[:0] = [str(Path.cwd()), str(ROOT / "tests" / "host")]
    import families

    PAGE.write_text(page(families), encoding="utf-8")
    print(f"Written: {PAGE}")
