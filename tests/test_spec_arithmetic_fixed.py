"""Fixed point: the one rounding, saturation, normalisation."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from opml_spec.arithmetic.fixed import INT32_MAX, INT32_MIN, ZERO_EXPONENT, normalise, round_shift, sat32, shorten

integers = st.integers(-(1 << 80), 1 << 80)
shifts = st.integers(-40, 100)


@given(integers, shifts)
def test_round_shift_is_the_nearest_integer_and_halves_go_up(value: int, shift: int) -> None:
    exact = Fraction(value) / Fraction(2) ** shift
    assert exact - Fraction(1, 2) < round_shift(value, shift) <= exact + Fraction(1, 2)


def test_round_shift_at_halves() -> None:
    assert [round_shift(v, 1) for v in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    assert round_shift(5, 0) == 5
    assert round_shift(-5, -2) == -20


@given(integers)
def test_sat32_is_the_nearest_i32(value: int) -> None:
    assert sat32(value) == sorted([INT32_MIN, value, INT32_MAX])[1]


@given(st.lists(st.tuples(st.integers(-(1 << 62), 1 << 62), st.integers(-20, 90)), min_size=1, max_size=12), st.integers(2, 15))
def test_normalise_gives_the_finest_grid_that_fits(pairs: list[tuple[int, int]], width: int) -> None:
    values, fraction_bits = [v for v, _ in pairs], [f for _, f in pairs]
    q, e = normalise(values, fraction_bits, width)
    assert len(q) == len(values)
    limit = 2**width - 1
    assert all(abs(x) <= limit for x in q)
    if not any(values):
        assert (q, e) == ([0] * len(values), ZERO_EXPONENT)
        return
    numbers = [Fraction(v) / Fraction(2) ** f for v, f in pairs]
    for x, number in zip(q, numbers, strict=True):
        error = abs(x - number * Fraction(2) ** e)
        assert error <= Fraction(1, 2) or (abs(x) == limit and error <= 1), "off by half a unit, or clamped from 2^width"
    assert max(abs(n) for n in numbers) * Fraction(2) ** e >= Fraction(2) ** (width - 1), "a finer grid would not fit"


def test_normalise_at_its_corners() -> None:
    assert normalise([-(1 << 31)], [14]) == ([-(1 << 14)], -3)
    assert normalise([(1 << 31) - 1], [14]) == ([(1 << 15) - 1], -2), "it would round up to 2^15"
    assert normalise([1, 0], [14, 200]) == ([1 << 14, 0], 28), "a zero has no say"
    assert normalise([7], [0], width=3) == ([7], 0)


@given(st.lists(integers, min_size=1, max_size=5), st.integers(1, 40))
def test_narrow_rounds_away_what_the_largest_has_too_much(values: list[int], width: int) -> None:
    rounded, dropped = shorten(values, width)
    assert rounded == [round_shift(v, dropped) for v in values]
    assert max(map(abs, rounded)) <= 2**width
    assert dropped == 0 or max(map(abs, values)) >> dropped >= 2 ** (width - 1)
