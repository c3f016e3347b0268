"""Instructions between registers: each with all pairs of edges, all ways in which its registers coincide, and every shift.

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
COINCIDING = ((1, 1, 2), (1, 2, 1), (1, 2, 2), (1, 1, 1), (0, 1, 2), (1, 0, 2), (1, 2, 0), (0, 0, 0), (1, 0, 0), (0, 1, 1))
"""rd, rs1 and rs2: all ways in which they are one register, and in which they are x0."""

DISTINCT = (0x8765_4321_8765_4321, 0x0000_0000_0000_0025)


def two_sources() -> Iterator[Point]:
    """Yields format R: every pair of edges, in registers that change from case to case, then the coinciding registers."""
    for name in BY_FORMAT["R"]:
        for (a, b), (rd, rs1, rs2) in zip(product(VALUES, VALUES), registers_in_turn(), strict=False):
            yield point(f"{name}.cr_rs1_rs2_edges", assemble(name, rd, rs1, rs2), {rs1: a, rs2: b})
        for rd, rs1, rs2 in COINCIDING:
            yield point(f"{name}.cmp_rd_rs1_rs2", assemble(name, rd, rs1, rs2), {rd: 3, rs1: DISTINCT[0], rs2: DISTINCT[1]})


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
