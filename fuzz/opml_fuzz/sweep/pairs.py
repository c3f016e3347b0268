"""Pairs of instructions, for what a single step cannot show: a write to x0, memory that is accessed again, stores that lie far apart.

A state has no place for x0, so only the next instruction sees that it was written. An implementation that runs programs may keep for a
while what it stored, so a load must see it there, and a second store must not lose it. It may keep what it read, too. Three stores through
one register may go to three pages. All pairs are entries into one text, so it is translated once.

*Source*: spec §2.1, §2.3 and §2.4.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice, product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, QUARTER
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import DATA, HEAP, SIZES, STORES
from opml_fuzz.sweep.borders import at_borders
from opml_fuzz.sweep.order import BATCHES
from opml_fuzz.sweep.point import PATTERN

RD, RS1, RS2 = 3, 1, 2
LARGE, SMALL = 0x8765_4321_8765_4321, 0x25
ADDRESSES = LEAF * HEAP + 8, LEAF * HEAP + LEAF - 1
"""What is stored to: in one leaf, and as far as it has more than one byte in two."""

APART = ((0, -1_100, 1_100), (-1_100, 1_100, 0), (-2_048, 2_040, 0), (0, 1_016, -8), (0, 1_017, 2_000))
"""Offsets of three stores through one register, to two pages or three."""

EMPTY, PAGE = (1 << 20, 3 * QUARTER + (1 << 20)), 4_096
"""Where no page has content; each program takes two pages that no other one touches, since what it stored may be kept as zeros."""

STEPS = 2
Registers = dict[int, int]
Pair = tuple[int, int, Registers]
"""Two words, and the registers before them."""


def zero() -> Iterator[Pair]:
    """Yields each instruction that has an rd with x0 in its place, then a read of x0; no instruction's result is 0 in each case."""
    for name, one in ENCODINGS.items():
        reads = assemble("addi", RD)
        if name in SIZES and name not in STORES:
            yield assemble(name, 0, RS1), reads, {RS1: LEAF * HEAP}
        elif name == "jalr":
            yield assemble(name, 0, RS1, imm=4), reads, {}
        elif one.format in "RI56UJ":
            for a, b in ((LARGE, SMALL), (SMALL, LARGE)):
                yield assemble(name, 0, RS1, RS2, 4 if one.format == "J" else -1), reads, {RS1: a, RS2: b}


def accessed_again() -> Iterator[Pair]:
    """Yields each store with each access to the same bytes, or to some of them."""
    for (first, second), address, by in product(product(STORES, SIZES), ADDRESSES, (-1, 0, 1)):
        again = assemble(second, RD, RS1, RD, by)
        yield assemble(first, 0, RS1, RS2), again, {RS1: address, RS2: DATA, RD: 7}


def far_apart() -> Iterator[tuple[int, ...]]:
    """Yields three stores through one register: whoever checks them together must not overlook a page between them."""
    for name, offsets in product(STORES, APART):
        yield tuple(assemble(name, 0, RS1, RS2, offset) for offset in offsets)


def read_before() -> Iterator[tuple[int, ...]]:
    """Yields a load, a store to the same bytes or over a border before them, and the load once more; nothing lies there at first."""
    for name, load, by in product(STORES, ("lb", "ld"), (0, -1)):
        yield assemble(load, RD, RS1), assemble(name, 0, RS1, RS2, by), assemble(load, RD, RS1)


@cache
def triples() -> tuple[Program, ...]:
    """Makes the programs of three instructions, each about an address of its own."""
    drawn = [(words, LEAF * HEAP) for words in far_apart()]
    drawn += [(words, border + 2 * PAGE * i) for i, words in enumerate(read_before()) for border in EMPTY]
    content, entered = dict[int, bytes](), list[tuple[int, int]]()
    for i, (words, address) in enumerate(drawn):
        entered.append((ENTRY + 16 * i, address))
        for place, word in enumerate((*words, assemble("ebreak"))):
            put_word(content, ENTRY + 16 * i + 4 * place, word)
    leaves = Leaves(content)
    starts = (Start(pc, (0, address, DATA, *[0] * (REGISTERS - 3)), leaves) for pc, address in entered)
    return tuple(Program(start, (len(APART[0]),)) for start in starts)


@cache
def pairs() -> tuple[Program, ...]:
    """Makes the programs."""
    content, entered = {HEAP: PATTERN, HEAP + 1: PATTERN[::-1]}, list[tuple[int, Registers]]()
    for i, (first, second, registers) in enumerate((*zero(), *accessed_again())):
        pc = ENTRY + 12 * i
        for place, word in enumerate((first, second, assemble("ebreak"))):
            put_word(content, pc + 4 * place, word)
        entered.append((pc, registers or {RS1: pc}))
    leaves = Leaves(content)
    starts = (Start(pc, tuple(registers.get(i, 0) for i in range(REGISTERS)), leaves) for pc, registers in entered)
    return tuple(Program(start, (STEPS,)) for start in starts)


def paired(batch: int) -> Iterator[Program]:
    """Yields every 90th of them, beginning with that of the batch's number; those of three stores and at borders, too."""
    yield from islice((*pairs(), *triples(), *at_borders()), batch, None, BATCHES)
