"""The unit tests need no ComfyUI: `domain_guidance`, `launcher` and the tests' own helpers are importable here."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
