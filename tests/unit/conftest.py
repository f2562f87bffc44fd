"""The unit tests need no ComfyUI: `domain_guidance`, `launcher` and the tests' own helpers are importable here."""

import sys
from pathlib import Path

HERE = Path(__file__).parent

sys.path += [str(HERE.parents[1]), str(HERE), str(HERE / "generators")]
