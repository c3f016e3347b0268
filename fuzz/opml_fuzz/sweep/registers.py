"""Instructions between registers: each with all pairs of edges, every shift, and quotients where they change.

*Source*: spec §2.3.
"""

from collections.abc import Iterator
from itertools import product

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.sweep.edges import TWELVE, UPPER, VALUES
from opml_fuzz.sweep.point import Point, point, registers_in_turn

BY_FORMAT = {kind: [name for name, one in ENCODINGS.items() if one.format == kind] for kind in "RI56U"}
LOADS_AND_JUMPS = {"jalr", "lb", "lh", "lw", "lbu", "lhu", "lwu", "ld"}
IMMEDIATE = [name for name in BY_FORMAT["I"] if name not in LOADS_AND_JUMPS]
DIVISIONS = [name for name in BY_FORMAT["R"] if name.startswith(("div", "rem"))]
DIVISORS = (3, 5, 7, 10, 12, 60, 100, 641, 1_000, 10**9)
"""What programs often divide by, so that an implementation may have a shorter way for it."""

DISTINCT = (0x8765_4321_8765_4321, 0x0000_0000_0000_0025)


def two_sources() -> Iterator[Point]:
    """Yields format R: every pair of edges, in registers that change from case to case."""
    for name in BY_FORMAT["R"]:
        for (a, b), (rd, rs1, rs2) in zip(product(VALUES, VALUES), registers_in_turn(), strict=False):
            yield point(f"{name}.cr_rs1_rs2_edges", assemble(name, rd, rs1, rs2), {rs1: a, rs2: b})


def quotients() -> Iterator[Point]:
    """Yields divisions beside where the quotient changes, at both ends of words and double words: a multiple of a divisor, and one less.

    There a reciprocal that is not exact enough shows."""
    multiples = ((end // by * by, by) for end, by in product((1 << 64, 1 << 63, 1 << 32, 1 << 31), DIVISORS))
    for name, (multiple, by), less, sign in product(DIVISIONS, tuple(multiples), (0, 1), (1, -1)):
        yield point(f"{name}.cr_quotients", assemble(name, 3, 1, 2), {1: sign * (multiple - less), 2: by})


def one_source() -> Iterator[Point]:
    """Yields format I: every edge with every edge of the immediate, and the coinciding registers."""
    for name in IMMEDIATE:
        for (a, imm), (rd, rs1, _) in zip(product(VALUES, TWELVE), registers_in_turn(), strict=False):
            yield point(f"{name}.cr_rs1_imm_edges", assemble(name, rd, rs1, imm=imm), {rs1: a})
        for rd, rs1 in ((1, 1), (0, 1), (1, 0), (0, 0)):
            yield point(f"{name}.cmp_rd_rs1", assemble(name, rd, rs1, imm=-5), {rd: 3, rs1: DISTINCT[0]})


def shifts() -> Iterator[Point]:
    """Yields every shift amount, of values of which every bit shows."""
    for bits, names in ((5, BY_FORMAT["5"]), (6, BY_FORMAT["6"])):
        for name in names:
            for (amount, a), (rd, rs1, _) in zip(product(range(1 << bits), (DISTINCT[0], VALUES[8])), registers_in_turn(), strict=False):
                yield point(f"{name}.cp_uimm", assemble(name, rd, rs1, imm=amount), {rs1: a})
            for rd, rs1 in ((1, 1), (0, 1), (1, 0)):
                yield point(f"{name}.cmp_rd_rs1", assemble(name, rd, rs1, imm=3), {rd: 3, rs1: DISTINCT[0]})
    for name in ("sll", "srl", "sra", "sllw", "srlw", "sraw"):
        for amount in (*range(66), 1 << 32, (1 << 63) + 31, 127):
            yield point(f"{name}.cp_shift_amount", assemble(name, 3, 1, 2), {1: DISTINCT[0], 2: amount})


def upper() -> Iterator[Point]:
    """Yields format U."""
    for name in BY_FORMAT["U"]:
        for imm, (rd, _, _) in zip(UPPER * 4, registers_in_turn(), strict=False):
            yield point(f"{name}.cp_imm_edges", assemble(name, rd, imm=imm))
