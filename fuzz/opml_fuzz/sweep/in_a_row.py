"""Every instruction right after every other, with its result as operand; and pairs that a processor may fuse, with registers that coincide.

The manual recommends to compute both halves of a product, and quotient and remainder, in a row, so that they can be computed at once. That
is right only if the first one does not overwrite what the second one reads.

*Source*: spec §2.3.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF, TOP
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.sweep.accesses import HEAP, SIZES, STORES
from opml_fuzz.sweep.order import BATCHES
from opml_fuzz.sweep.point import PATTERN

RS1, RS2, RD, LAST = 1, 2, 3, 4
ADDRESS, SMALL = LEAF * HEAP + 9, 0x25
STEPS, PAIR_BYTES = 2, 12
FIRST = [name for name, one in ENCODINGS.items() if one.format != "W"]
"""All instructions but those that stop the machine."""

HALVES = ("mulh", "mul"), ("mulhsu", "mul"), ("mulhu", "mul"), ("div", "rem"), ("divu", "remu"), ("divw", "remw"), ("divuw", "remuw")
UPPER, LOWER = ("lui", "auipc"), ("addi", "addiw", "jalr", *(name for name in SIZES if name not in STORES))
SHIFTS = ("slli", "srli"), ("slli", "srai"), ("slliw", "srliw"), ("slliw", "sraiw")
HIGH, LOW = (0, 1 << 12, -1 << 31, (1 << 31) - (1 << 12), -1 << 12), (0, 1, -1, (1 << 11) - 1, -1 << 11)
"""Immediates whose sums reach beyond each end of 32 bits, and zero."""

MINUS_ONE, SMALLEST = TOP - 1, 1 << 63
USUAL = ((ADDRESS, SMALL),)
EDGES = (
    *(*USUAL, (SMALLEST, MINUS_ONE), (MINUS_ONE, SMALLEST), (SMALLEST + 1, 0)),
    *((TOP - (1 << 31), MINUS_ONE), (0x8765_4321_8765_4321, 1 << 32)),
)
"""Values of the two sources: an address; quotients that overflow or are by zero, and products with all signs."""

Pair = tuple[int, int, tuple[tuple[int, int], ...]]
"""Two words, and the values of the sources before them."""


def after(first: str) -> Iterator[Pair]:
    """Yields the instruction with each other one after it, which reads its result: as operand, or to store it."""
    one = assemble(first, RD, RS1, RS2, 4)
    for second in FIRST:
        reads = (RS1, RD) if second in SIZES else (RD, RS1)
        yield one, assemble(second, LAST, *reads, 4), USUAL


def fused() -> Iterator[Pair]:
    """Yields the pairs that may be fused: with equal sources and exchanged ones, in both orders, and one register written twice."""
    for (one, other), rd, sources in product(HALVES, (RS1, RS2, RD), ((RS1, RS2), (RS2, RS1))):
        yield from ((assemble(a, rd, RS1, RS2), assemble(b, LAST, *sources), EDGES) for a, b in ((one, other), (other, one)))
    for upper, lower, last in product(UPPER, LOWER, (RD, LAST)):
        yield assemble(upper, RD, imm=ADDRESS), assemble(lower, last, RD, imm=-5), USUAL
    for upper, lower, last, high, low in product(UPPER, ("addi", "addiw"), (RD, LAST), HIGH, LOW):
        yield assemble(upper, RD, imm=high), assemble(lower, last, RD, imm=low), USUAL
    for last, distance in product((0, RD, LAST), range(8, 12)):
        yield assemble("auipc", RD), assemble("jalr", last, RD, imm=distance), USUAL
    for (left, right), rd, amount in product(SHIFTS, (RS1, RD), (31, 32)):
        yield assemble(left, rd, RS1, imm=amount), assemble(right, rd, rd, imm=amount), EDGES


@cache
def texts() -> tuple[tuple[Program, ...], ...]:
    """Makes the programs: for each batch of the sweep those that are entries into its text, so that it is translated once."""
    ordered = [_entries(tuple(after(first)), jumps=first == "jalr") for first in FIRST]
    apart, others = BATCHES - len(ordered), tuple(fused())
    return (*ordered, *(_entries(others[i::apart]) for i in range(apart)))


def in_a_row(batch: int) -> tuple[Program, ...]:
    return texts()[batch]


def _entries(pairs: tuple[Pair, ...], jumps: bool = False) -> tuple[Program, ...]:
    """jumps: whether the first of each pair goes to where a register says"""
    content, programs = {HEAP: PATTERN, HEAP + 1: PATTERN[::-1]}, list[Program]()
    for i, (first, second, _) in enumerate(pairs):
        for place, word in enumerate((first, second, assemble("ebreak"))):
            put_word(content, ENTRY + PAIR_BYTES * i + 4 * place, word)
    x, leaves = [0] * REGISTERS, Leaves(content)
    for i, (_, _, values) in enumerate(pairs):
        pc = ENTRY + PAIR_BYTES * i
        for x[RS1], x[RS2] in values:
            x[RS1] = pc if jumps else x[RS1]
            programs.append(Program(Start(pc, tuple(x), leaves), (STEPS,)))
    return tuple(programs)
