"""A point of the sweep: one instruction in a state that has nothing in it but what the point is about.

*Source*: spec §2.1 and §2.2.
"""

from collections.abc import Iterator, Mapping

from attrs import frozen

from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, TOP
from opml_fuzz.machine.start import REGISTERS, Leaves, Start

HEIGHTS = 35  # of the Merkle tree over the memory
PATTERN = bytes(range(0x81, 0x81 + LEAF))
"""A leaf in which all bytes differ, each of them negative as a signed one."""


@frozen
class Point:
    """A state in which one step is made, and what it is a corner of."""

    about: str
    start: Start


def point(
    about: str, word: int, registers: Mapping[int, int] | None = None, leaves: Mapping[int, bytes] | None = None, pc: int = ENTRY
) -> Point:
    """Puts a word at pc, values into registers and leaves into the memory. Everything else is zero."""
    x = [0] * REGISTERS
    for register, value in (registers or {}).items():
        x[register] = value % TOP if register else 0
    content = dict(leaves or {})
    if pc < MEMORY and pc % 4 == 0:
        put_word(content, pc, word)
    return Point(about, Start(pc, tuple(x), Leaves(content)))


def around(index: int) -> dict[int, bytes]:
    """Fills one leaf beside each node on the way from this leaf to the root, so that no sibling is a zero subtree."""
    return {index ^ 1 << height: bytes([height + 1]) * LEAF for height in range(HEIGHTS)}


def registers_in_turn() -> Iterator[tuple[int, int, int]]:
    """Yields rd, rs1 and rs2 without end: none equal to another, every register in each place, x0 only where it is not a source."""
    at = 0
    while True:
        rs1, rs2 = 1 + at % 31, 1 + (at + 11) % 31
        rd = next(each for each in ((at + 5) % 32, (at + 6) % 32, (at + 7) % 32) if each not in (rs1, rs2))
        yield rd, rs1, rs2
        at += 1
