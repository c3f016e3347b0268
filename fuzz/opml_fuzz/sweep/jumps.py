"""Jumps, branches and where an instruction may lie.

*Source*: spec §2.1 and §2.3.
"""

from collections.abc import Iterator
from itertools import product

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import BRANCHES
from opml_fuzz.machine.numbers import ENTRY, MEMORY, QUARTER, TEXT_BYTES, TOP
from opml_fuzz.sweep.edges import BRANCH, JUMP, TWELVE, VALUES
from opml_fuzz.sweep.point import Point, point, registers_in_turn

LAST = ENTRY + TEXT_BYTES - 4
MIDDLE = ENTRY + TEXT_BYTES // 2
PLACES = (
    *(ENTRY, ENTRY + 28, LAST, MIDDLE),
    *(ENTRY + 1, ENTRY + 2, ENTRY + 3, LAST + 1, LAST + 2),  # misaligned
    *(LAST + 4, LAST + 8, ENTRY - 4, 0, 2 * QUARTER - 4, MEMORY - 4, MEMORY, TOP - 4, 1 << 63, ENTRY + MEMORY),  # outside
    *(TOP - 1, LAST + 5, LAST + 6, ENTRY - 1, 2),  # both
)
NOP = assemble("addi")


def branches() -> Iterator[Point]:
    """Yields every pair of edges, taken or not, and every distance for a branch that is taken and one that is not."""
    for name in BRANCHES:
        for (a, b), (_, rs1, rs2) in zip(product(VALUES, VALUES), registers_in_turn(), strict=False):
            yield point(f"{name}.cr_rs1_rs2_edges", assemble(name, 0, rs1, rs2, 8), {rs1: a, rs2: b}, pc=MIDDLE)
        for distance, (a, b) in product(BRANCH, ((1, 1), (1, 2), (2, 1), (TOP - 1, 1))):
            yield point(f"{name}.cp_imm_edges", assemble(name, 0, 1, 2, distance), {1: a, 2: b}, pc=MIDDLE)
        for rs1, rs2 in ((1, 1), (0, 1), (1, 0), (0, 0)):
            yield point(f"{name}.cmp_rs1_rs2", assemble(name, 0, rs1, rs2, 8), {1: TOP - 1}, pc=MIDDLE)
        for pc, distance in ((ENTRY, -4), (LAST, 4), (LAST, 2), (ENTRY, -2)):
            yield point(f"{name}.cp_leaves_text", assemble(name, 0, 1, 2, distance), {1: 1, 2: 1}, pc=pc)


def jumps() -> Iterator[Point]:
    """Yields JAL with every distance, and JALR with every target that matters: odd, misaligned, outside, and through its own rd."""
    for distance, (rd, _, _) in zip(JUMP * 3, registers_in_turn(), strict=False):
        yield point("jal.cp_imm_edges", assemble("jal", rd, imm=distance), {rd: 3}, pc=MIDDLE)
    for pc, distance, rd in product((ENTRY, LAST), (4, -4, 2, -(1 << 20), (1 << 20) - 2), (0, 1)):
        yield point("jal.cp_leaves_text", assemble("jal", rd, imm=distance), {1: 3}, pc=pc)
    for (a, imm), (rd, rs1, _) in zip(product((*VALUES, ENTRY, LAST, MIDDLE, MEMORY), TWELVE), registers_in_turn(), strict=False):
        yield point("jalr.cr_rs1_imm_edges", assemble("jalr", rd, rs1, imm=imm), {rd: 3, rs1: a}, pc=MIDDLE)
    for sum_, rd, rs1 in product(range(MIDDLE, MIDDLE + 8), (0, 1, 2), (1,)):
        yield point("jalr.cp_target_bits", assemble("jalr", rd, rs1, imm=-3), {rd: 7, rs1: sum_ + 3}, pc=ENTRY)


def places() -> Iterator[Point]:
    """Yields the edges of pc: misaligned before outside, and the first and last word that can be fetched."""
    for pc in PLACES:
        yield point("fetch.cp_pc_edges", NOP, pc=pc)
    for pc in range(ENTRY, ENTRY + 64, 4):
        yield point("fetch.cp_word_in_leaf", assemble("addi", 5, 0, imm=pc & 63), {5: 1}, {ENTRY // 32: b"\xff" * 32}, pc)
