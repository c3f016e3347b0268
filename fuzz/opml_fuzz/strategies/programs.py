"""Programs with stops; they shrink by leaving out instructions and stops.

*Source*: spec §2.1 to §2.4.
"""

from hypothesis import strategies as st

from opml_fuzz.machine.case import Program
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import A7, BRANCHES, COMPUTING, COUNTER, EXIT, is_access, put_word
from opml_fuzz.machine.numbers import ENTRY, LEAF
from opml_fuzz.machine.simpler import DATA_AT
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.strategies.instructions import instructions
from opml_fuzz.strategies.numbers import numbers

MOST_WORDS, MOST_TURNS, MOST_STEPS = 24, 6, 120
POINTER = 5  # a register that points to data
STORES = 0x23  # the opcode of those without rd


@st.composite
def bodies(draw: st.DrawFn) -> list[int]:
    """Draws instructions: most compute, some branch forward over one or two others, accesses lie near a pointer."""

    @st.composite
    def one(draw: st.DrawFn) -> int:
        if draw(st.integers(0, 7)) == 7:
            registers = st.integers(0, REGISTERS - 1)
            return assemble(draw(st.sampled_from(BRANCHES)), 0, draw(registers), draw(registers), draw(st.sampled_from((8, 12))))
        word = draw(instructions(COMPUTING))
        if word & 0x7F != STORES and word >> 7 & 31 in (POINTER, COUNTER):
            word &= ~(31 << 7)
        return word & ~(31 << 15) | POINTER << 15 if is_access(word) else word

    return draw(st.lists(one(), min_size=1, max_size=MOST_WORDS))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draws a loop around a few instructions, with a few registers and stops. It ends by itself, or its last stop ends it."""
    body = draw(bodies())
    turns = draw(st.integers(1, MOST_TURNS))
    back = [assemble("addi", COUNTER, COUNTER, 0, -1), assemble("bne", 0, COUNTER, 0, -4 * len(body) - 4)] if turns > 1 else []
    leaves = dict[int, bytes]()
    for index, word in enumerate([*body, *back, assemble("ecall")]):
        put_word(leaves, ENTRY + 4 * index, word)
    x = dict.fromkeys(range(REGISTERS), 0) | draw(st.dictionaries(st.integers(1, REGISTERS - 1), numbers(), max_size=6))
    x |= {A7: EXIT, COUNTER: turns, POINTER: draw(st.sampled_from(DATA_AT)) + draw(st.integers(0, LEAF))}
    stops = draw(st.sets(st.integers(1, MOST_STEPS), min_size=1, max_size=3))
    return Program(Start(ENTRY, tuple(x.values()), Leaves(leaves)), tuple(sorted(stops)))
