"""Operations on binary32; they shrink to plain numbers, to nearest, and to the first operation of the list.

*Source*: IEEE 754.
"""

from hypothesis import strategies as st

from opml_fuzz.machine.model_case import FloatOperation
from opml_fuzz.machine.random_floats import COMPARING, CONVERTING, EDGES, NAMES, ROUNDED, ROUNDINGS
from opml_fuzz.strategies.numbers import numbers

PLAIN = (0, 0x3F800000, 0x40000000, 0xBF800000)  # 0, 1, 2, -1


def binary32_patterns() -> st.SearchStrategy[int]:
    """Draws the bits of a float."""
    near_one = st.builds(
        lambda sign, exponent, fraction: sign << 31 | exponent << 23 | fraction,
        *(st.integers(0, 1), st.integers(100, 160), st.integers(0, (1 << 23) - 1)),
    )
    return st.one_of(st.sampled_from(PLAIN), st.sampled_from(EDGES), near_one, st.integers(0, (1 << 32) - 1))


@st.composite
def binary32_operations(draw: st.DrawFn) -> FloatOperation:
    """Draws an operation with its operands and the direction of its rounding."""
    name = draw(st.sampled_from(NAMES))
    rounding = "RNE" if name in COMPARING else draw(st.sampled_from(ROUNDINGS))
    if name.endswith("_to_f32"):
        return FloatOperation(name, (draw(numbers(CONVERTING[name])),), rounding)
    count = {**ROUNDED, **COMPARING}.get(name, 1)
    return FloatOperation(name, tuple(draw(binary32_patterns()) for _ in range(count)), rounding)
