"""Pairs of instructions, for what a single step cannot show: a write to x0, and memory that is accessed again before anybody asks for it.

A state has no place for x0, so only the next instruction sees that it was written. An implementation that runs programs may keep for a
while what it stored, so a load must see it there, and a second store must not lose it. All pairs are entries into one text, so it is
translated once.

*Source*: spec §2.1, §2.3 and §2.4.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice, product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import DATA, HEAP, SIZES, STORES
from opml_fuzz.sweep.order import BATCHES
from opml_fuzz.sweep.point import PATTERN

RD, RS1, RS2 = 3, 1, 2
LARGE, SMALL = 0x8765_4321_8765_4321, 0x25
ADDRESSES = LEAF * HEAP + 8, LEAF * HEAP + LEAF - 1
"""What is stored to: in one leaf, and as far as it has more than one byte in two."""

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
    """Yields every 90th of them, beginning with that of the batch's number."""
    yield from islice(pairs(), batch, None, BATCHES)
