"""Whether a file is mapped into this process, as only Linux says; on Windows a mapped file cannot be replaced."""

from pathlib import Path

import pytest

MAPS = Path("/proc/self/maps")
needs_maps = pytest.mark.skipif(not MAPS.exists(), reason="only Linux says which files are mapped")


def is_mapped(path):
    return str(Path(path).resolve()) in MAPS.read_text()
