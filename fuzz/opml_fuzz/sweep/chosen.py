"""The part of the sweep that is worth freezing: small enough for a file, with every rule in it.

*Source*: spec §2.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import OPCODES
from opml_fuzz.sweep import accesses, jumps, registers, words
from opml_fuzz.sweep.forgeries import Forgery, forgeries
from opml_fuzz.sweep.point import Point, point

ONE_IN: tuple[tuple[Callable[[], Iterator[Point]], int], ...] = (
    *((words.system, 2), (words.not_running, 2), (jumps.places, 1), (jumps.jumps, 7), (jumps.branches, 41)),
    *((accesses.alignments, 11), (accesses.borders, 5), (accesses.operands, 7), (accesses.own_leaf, 3), (accesses.dense, 17)),
    *((registers.upper, 12), (registers.shifts, 17), (registers.one_source, 23)),
)
"""Groups of the sweep, and one in how many is kept. The strides have no factor in common with the lengths of what is crossed."""

SMALLEST, SMALLEST_WORD = 1 << 63, 0xFFFF_FFFF_8000_0000
PAIRS = (
    *((SMALLEST, (1 << 64) - 1), (SMALLEST_WORD, (1 << 64) - 1), (SMALLEST, SMALLEST), ((1 << 64) - 1, (1 << 64) - 1)),
    *((0x8765_4321_8765_4321, 1 << 32), (0x8765_4321_8765_4321, 0x25), (0x25, 0x8765_4321_8765_4321), (7, 0)),
)
"""Divisions that overflow, are by zero or by a word of zero; products of every pair of signs; shifts by more than a word."""

OF_A_SORT = {"addi, few": 2, "ld, few": 2, "sd, few": 2, "sw, few": 1, "sd, full": 1, "1 of other memories, sd, few": 9}


def chosen_points() -> Iterator[Point]:
    """Yields the states."""
    yield from illegal_words()
    for group, one_in in ONE_IN:
        yield from islice(group(), 0, None, one_in)
    for name in registers.BY_FORMAT["R"]:
        for a, b in PAIRS:
            yield point(f"{name}.cr_rs1_rs2_edges", assemble(name, 3, 1, 2), {1: a, 2: b})


def illegal_words() -> Iterator[Point]:
    """Yields words with a fixed bit flipped: of those that differ in no field that decides, the first."""
    seen = set()
    for each in words.flipped():
        word = int.from_bytes(each.start.leaves.by_index[each.start.pc // 32][:4], "little")
        opcode = word & 0x7F
        by_function = opcode in OPCODES
        deciding = opcode, by_function and word >> 12 & 7, by_function and opcode & 0x57 == 0x13 and word >> 25
        if deciding not in seen:
            seen.add(deciding)
            yield each


def chosen_forgeries() -> Iterator[Forgery]:
    """Yields one or two witnesses of each sort."""
    seen: Counter[str] = Counter()
    for each in forgeries():
        seen[each.about] += 1
        original, _, what = each.about.partition(": ")
        if seen[each.about] <= OF_A_SORT.get(original, 0) and not ("full" in original and ", then" in what):
            yield each
