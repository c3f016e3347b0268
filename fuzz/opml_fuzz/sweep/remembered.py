"""Runs one after the other, of which the later one is wrong if something of the earlier one is left.

Some begin alike: they jump to places where an earlier one had another instruction. So whoever keeps what it decoded, and throws it away
only if the first instruction changes or by a number that begins anew, is wrong. Others are about one memory: after a run that stores to the
same bytes twice comes one that stores nothing. So whoever undoes what a run stored, but in the wrong order, is wrong.

*Source*: spec §2.2 and §2.3.
"""

from collections.abc import Iterator
from itertools import product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import DATA, HEAP, STORES
from opml_fuzz.sweep.point import PATTERN

RD, TARGET = 3, 1
RS1, RS2, OTHER = 1, 2, 4
SERIES = (1, 4), (256, 520)
"""After how many runs one comes to the same place again, and how many runs there are. 256 is all that eight bits count."""

PROGRAM_BYTES = 12


def remembered() -> Iterator[Program]:
    """Yields all series."""
    yield from begun_alike()
    yield from stored_twice()


def begun_alike() -> Iterator[Program]:
    """Yields runs of two instructions: a jump, and one that loads the number of the run."""
    for period, runs in SERIES:
        for number in range(runs):
            place, leaves = ENTRY + LEAF * (1 + number % period), dict[int, bytes]()
            put_word(leaves, ENTRY, assemble("jalr", 0, TARGET, 0))
            put_word(leaves, place, assemble("addi", RD, 0, imm=number))
            x = [0] * REGISTERS
            x[TARGET] = place
            yield Program(Start(ENTRY, tuple(x), Leaves(leaves)), (2,))


def stored_twice() -> Iterator[Program]:
    """Yields runs of two stores that share bytes, within a leaf and over two, each followed by a run of the same memory without a store."""
    content, drawn = {HEAP: PATTERN, HEAP + 1: PATTERN[::-1]}, [*product(STORES, STORES, (8, LEAF - 1), (-1, 0, 1))]
    put_word(content, ENTRY, assemble("addi", RD))
    for i, (first, second, _, by) in enumerate(drawn, 1):
        for place, word in enumerate((assemble(first, 0, RS1, RS2), assemble(second, 0, RS1, OTHER, by))):
            put_word(content, ENTRY + PROGRAM_BYTES * i + 4 * place, word)
    leaves = Leaves(content)
    for i, (_, _, offset, _) in enumerate(drawn, 1):
        x = [0] * REGISTERS
        x[RS1], x[RS2], x[OTHER] = LEAF * HEAP + offset, DATA, 7
        yield Program(Start(ENTRY + PROGRAM_BYTES * i, tuple(x), leaves), (2,))
        yield Program(Start(ENTRY, tuple(x), leaves), (1,))
