"""What reading one file may take, counted over all pickles in it.

A pickle can hold others, and have them read again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Refused

MAX_OPCODES = 500_000  # an EG3D file with all three of its networks has about 70,000
MAX_TEXT = 2**25  # bytes; the source code that NVIDIA's files carry is less than one MiB


@dataclass
class Budget:
    """What is left."""

    opcodes: int = MAX_OPCODES
    text: int = MAX_TEXT

    def spend_opcode(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            raise Refused(f"its pickle has more than {MAX_OPCODES:,} opcodes")

    def spend_text(self, count: int) -> None:
        self.text -= count
        if self.text < 0:
            raise Refused(f"its pickle holds more than {MAX_TEXT >> 20} MiB of text")
