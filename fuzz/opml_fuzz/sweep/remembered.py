"""Runs that begin alike, one after the other: they jump to places where an earlier one of them had another instruction.

So whoever keeps what it decoded, and throws it away only if the first instruction changes or by a number that begins anew, is wrong.

*Source*: spec §2.2 and §2.3.
"""

from collections.abc import Iterator

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

RD, TARGET = 3, 1
SERIES = (1, 4), (256, 520)
"""After how many runs one comes to the same place again, and how many runs there are. 256 is all that eight bits count."""


def remembered() -> Iterator[Program]:
    """Yields the series; each run ends at its second instruction, which loads the number of the run."""
    for period, runs in SERIES:
        for number in range(runs):
            place, leaves = ENTRY + LEAF * (1 + number % period), dict[int, bytes]()
            put_word(leaves, ENTRY, assemble("jalr", 0, TARGET, 0))
            put_word(leaves, place, assemble("addi", RD, 0, imm=number))
            x = [0] * REGISTERS
            x[TARGET] = place
            yield Program(Start(ENTRY, tuple(x), Leaves(leaves)), (2,))
