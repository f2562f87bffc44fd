"""The unit tests need no ComfyUI; the pack's root is importable here so that `domain_guidance` and `launcher` are
found.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
