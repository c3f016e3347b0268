"""Numbers and addresses that favour edges; they shrink towards 0, 1 and the edges of words, addresses towards the first ones of a quarter.

*Source*: spec §2.1 and §2.2.
"""

from typing import TypeVar

from hypothesis import strategies as st

from opml_fuzz.machine.numbers import ENTRY, LEAF, MEMORY, QUARTER, TEXT_BYTES, TOP
from opml_fuzz.machine.simpler import CHOSEN, DATA_AT

BORDERS = (0, QUARTER, 2 * QUARTER, 3 * QUARTER, MEMORY, ENTRY + TEXT_BYTES, TOP)


T = TypeVar("T")


@st.composite
def mostly(draw: st.DrawFn, usual: st.SearchStrategy[T], rare: st.SearchStrategy[T], one_in: int = 12) -> T:
    """Draws what is usual, and what is rare once in so many draws. It shrinks to what is usual."""
    return draw(rare if draw(st.integers(0, one_in - 1)) == one_in - 1 else usual)


def numbers(bits: int = 64) -> st.SearchStrategy[int]:
    """Draws the value of a register, or a number of fewer bits."""
    top = 1 << bits
    near_powers = st.builds(lambda power, offset: ((1 << power) + offset) % top, st.integers(0, bits - 1), st.integers(-2, 2))
    chosen = st.sampled_from([value for value in CHOSEN if value < top])
    return st.one_of(chosen, st.integers(0, 64), near_powers, st.integers(0, top - 1))


def addresses() -> st.SearchStrategy[int]:
    """Draws an address: one of the first of a quarter, one near a border, one anywhere, or a number that is none."""
    first = st.builds(lambda base, offset: base + offset, st.sampled_from(DATA_AT), st.integers(0, 2 * LEAF - 1))
    near = st.builds(lambda border, offset: (border + offset) % TOP, st.sampled_from(BORDERS), st.integers(-9, 8))
    return st.one_of(first, near, st.integers(0, MEMORY - 1), numbers())
