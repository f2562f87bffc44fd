"""Decoupled domain guidance for diffusion models, and the training of the text-free domain UNets behind it.

The library knows no host. It speaks to one small protocol, `diffusion.denoiser.Denoiser`, which ComfyUI (in `nodes/`)
and diffusers (in `diffusers_host`) both fulfil.
"""

import re
from importlib.metadata import version
from pathlib import Path


def _version(root: Path = Path(__file__).parents[1]) -> str:
    """The version in pyproject.toml, its one source: of the clone that this is in, else of what pip installed."""
    project = root / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    # ComfyUI's pack is a clone that pip never sees. A pyproject.toml beside an installed library is another project's.
    own = re.search(r'^name = "domain-guidance"\nversion = "(.+)"$', text, re.MULTILINE)
    return own[1] if own else version("domain-guidance")


__version__ = _version()
