"""Registers that coincide: every way in which those of an instruction are one register, or x0, with every edge in them.

An implementation may know a shorter way for `sub x5, x0, x5`, and that way may be wrong for one value alone.

*Source*: the coverpoints `cmp_rd_rs1_rs2` of the RISC-V architecture tests; spec §2.3.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import BRANCHES
from opml_fuzz.sweep.edges import VALUES
from opml_fuzz.sweep.jumps import MIDDLE
from opml_fuzz.sweep.point import Point, point
from opml_fuzz.sweep.registers import BY_FORMAT, DISTINCT, IMMEDIATE


def way(*registers: int) -> tuple[int, ...]:
    """Tells of each register which is the first place that holds the same one. Place 0 is x0."""
    places = (0, *registers)
    return tuple(map(places.index, places))[1:]


WAYS = tuple(dict.fromkeys(way(*each) for each in product(range(4), repeat=3)))
"""Of rd, rs1 and rs2 (= 15 ways); each is itself an example of three such registers."""

IMMEDIATES = (0, 1, -1, 2047, -2048)


def has_one_source(registers: Sequence[int]) -> bool:
    """Tells whether the sources are one register, or one of them is x0, and the result can be seen."""
    rd, rs1, rs2 = registers
    return rd > 0 and (rs1 == rs2 > 0 or (rs1 == 0) != (rs2 == 0))


def coinciding() -> Iterator[Point]:
    """Yields format R with each way, format I and shifts with the one register that they have, and branches with theirs."""
    for name, (rd, rs1, rs2) in product(BY_FORMAT["R"], WAYS):
        values = VALUES if rd and (rs1 or rs2) else ()
        for a in (*values, DISTINCT[0]):
            held = {rs1: a, rs2: a if has_one_source((rd, rs1, rs2)) else DISTINCT[1]}
            yield point(f"{name}.cmp_rd_rs1_rs2", assemble(name, rd, rs1, rs2), {rd: 3} | held)
    for name, a, imm in product(IMMEDIATE, VALUES, IMMEDIATES):
        yield point(f"{name}.cmp_rd_rs1", assemble(name, 1, 1, imm=imm), {1: a})
    for bits, a in product((5, 6), VALUES):
        for name, amount in product(BY_FORMAT[str(bits)], (0, 1, (1 << bits) - 1)):
            yield point(f"{name}.cmp_rd_rs1", assemble(name, 1, 1, imm=amount), {1: a})
    for name, a, (rs1, rs2) in product(BRANCHES, VALUES, ((1, 1), (0, 1), (1, 0))):
        yield point(f"{name}.cmp_rs1_rs2", assemble(name, 0, rs1, rs2, 8), {1: a}, pc=MIDDLE)
