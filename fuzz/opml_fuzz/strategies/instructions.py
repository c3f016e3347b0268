"""Instruction words; they shrink towards the registers x0, x1, x2 …, small immediates, and the first instruction that is allowed.

*Source*: spec §2.3.
"""

from collections.abc import Sequence

from hypothesis import strategies as st

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.machine.instructions import NAMES, NEIGHBOURS
from opml_fuzz.machine.simpler import SIMPLE_IMMEDIATES
from opml_fuzz.machine.start import REGISTERS
from opml_fuzz.strategies.numbers import mostly

BITS = {"I": 12, "F": 12, "S": 12, "B": 13, "J": 21, "U": 32}


def immediates(name: str) -> st.SearchStrategy[int]:
    """Draws an immediate of the instruction of this name; 0 if it has none."""
    kind = ENCODINGS[name].format
    if kind in "56":
        return st.integers(0, (1 << int(kind)) - 1)
    if kind not in BITS:
        return st.just(0)
    half = 1 << BITS[kind] - 1
    scale = {"B": 2, "J": 2, "U": 1 << 12}.get(kind, 1)
    simple = st.sampled_from([each * scale for each in SIMPLE_IMMEDIATES if -half <= each * scale < half])
    return st.one_of(simple, st.integers(-half // scale, (half - 1) // scale).map(lambda each: each * scale))


@st.composite
def instructions(draw: st.DrawFn, names: Sequence[str] = NAMES) -> int:
    """Draws a word that is one of the named instructions."""
    name = draw(st.sampled_from(tuple(names)))
    registers = st.integers(0, REGISTERS - 1)
    return assemble(name, draw(registers), draw(registers), draw(registers), draw(immediates(name)))


@st.composite
def nearly_instructions(draw: st.DrawFn) -> int:
    """Draws an instruction with one of the bits flipped that make it one."""
    name, bit = draw(st.sampled_from(NEIGHBOURS))
    return draw(instructions((name,))) ^ bit


def words() -> st.SearchStrategy[int]:
    """Draws any word: mostly an instruction, else one that differs from an instruction in a bit, or an arbitrary one."""
    return mostly(instructions(), nearly_instructions() | st.integers(0, (1 << 32) - 1), 6)
