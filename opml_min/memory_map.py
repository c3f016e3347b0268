"""The map of the 2^40-byte memory: four quarters, and the addresses in them that are the same for every program.

*Source*: spec §2.2 for the quarters, spec §3 for what lies in them.
"""

from enum import IntEnum

MEMORY_BYTES = 1 << 40
QUARTER_BYTES = 1 << 38
LEAF_BYTES = 32
PAGE_BYTES = 1024
"""The unit in which this implementation records, hashes and copies what was written: 32 leaves. No rule of the machine depends on it."""


class Quarter(IntEnum):
    """The four quarters, lowest addresses first."""

    SCRATCH = 0
    MODEL = 1
    IO = 2
    STATE = 3

    @property
    def address(self) -> int:
        """The quarter's first byte."""
        return self * QUARTER_BYTES


MODEL = Quarter.MODEL.address  # (= 0x40_0000_0000)
IO = Quarter.IO.address  # (= 0x80_0000_0000)
STATE = Quarter.STATE.address  # (= 0xC0_0000_0000)
ENTRY = MODEL
"""The first byte of the program, where every stage begins."""
PROGRAM_BYTES = 1 << 28
"""The program's text is `[ENTRY, ENTRY + 2^28)`; nothing else can be fetched."""
HEADER = ENTRY + PROGRAM_BYTES  # (= 0x40_1000_0000)
REQUEST = IO
OUTPUT = IO + (1 << 28)  # (= 0x80_1000_0000)
STAGE_STEP_LIMIT = 1 << 32
"""A stage that has not halted after this many steps has failed."""
