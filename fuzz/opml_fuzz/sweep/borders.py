"""Programs at borders: two accesses of which only the second crosses one, and counters that wrap before they meet their limit.

A translator may check two accesses through one register as one, and may execute several iterations of a loop without looking at its branch.
Here the first access ends a page, a quarter or the memory, and the second begins behind it. Counters of 32 bits and of 64 begin a few
iterations before or behind their limit, which lies at a border of either.

*Source*: spec §2.3 and §2.4.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import BRANCHES, put_word
from opml_fuzz.machine.numbers import ENTRY, MEMORY, QUARTER, TOP
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import DATA, SIZES

RD, RS1, RS2, COUNTER, LIMIT, ITERATIONS = 3, 1, 2, 5, 6, 7
PAGE = 1_024
BORDERS = 400 * PAGE, 2 * QUARTER + 3 * PAGE, QUARTER, MEMORY
LIMITS = 0, (1 << 31) - 2, 1 << 31, TOP - (1 << 31) + 1, 1 << 32, 1 << 63
STRIDES = 1, -3
BEFORE = 5, -2
"""Iterations from where the counter begins to its limit."""

MOST_STEPS = 60
Drawn = tuple[tuple[int, ...], dict[int, int], int]
"""Words, the registers before them, and at which step to stop."""


def over_a_border() -> Iterator[Drawn]:
    """Yields two loads or stores through one register, the first of which ends at a border and the second begins there."""
    for (name, size), border in product(SIZES.items(), BORDERS):
        words = assemble(name, RD, RS1, RS2, -size), assemble(name, RD + 1, RS1, RS2), assemble("ebreak")
        yield words, {RS1: border % TOP, RS2: DATA}, 2


def counters() -> Iterator[Drawn]:
    """Yields loops that count by words or double words, with every branch, up and down."""
    for adds, branch, stride, limit, before in product(("addi", "addiw"), BRANCHES, STRIDES, LIMITS, BEFORE):
        begin = (limit - before * stride) % TOP
        if adds == "addiw":  # as such a counter always is
            begin = ((begin + (1 << 31)) % (1 << 32) - (1 << 31)) % TOP
        sides = (COUNTER, LIMIT) if stride > 0 else (LIMIT, COUNTER)
        body = assemble("addi", ITERATIONS, ITERATIONS, imm=1), assemble(adds, COUNTER, COUNTER, imm=stride)
        yield (*body, assemble(branch, 0, *sides, -8), assemble("ebreak")), {COUNTER: begin, LIMIT: limit}, MOST_STEPS


@cache
def at_borders() -> tuple[Program, ...]:
    """Makes the programs, with one text for all."""
    content, entered, pc = dict[int, bytes](), dict[tuple[int, ...], int](), ENTRY
    drawn = (*over_a_border(), *counters())
    for words, _, _ in drawn:
        if words not in entered:
            entered[words] = pc
            for word in words:
                put_word(content, pc, word)
                pc += 4
    leaves = Leaves(content)
    return tuple(
        Program(Start(entered[words], tuple(registers.get(i, 0) for i in range(REGISTERS)), leaves), (steps,))
        for words, registers, steps in drawn
    )
