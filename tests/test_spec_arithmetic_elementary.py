"""The elementary functions: floors checked by inequalities, the table by ball arithmetic; also monotonicity and edge cases.

The worst errors of `exp2` and `sigmoid` are in their docstrings; `test_spec_values.py` computes them.
"""

import flint
import pytest
from flint import arb
from hypothesis import example, given
from hypothesis import strategies as st
from opml_spec.arithmetic.elementary import LN_2, LOG2_E_Q32, SERIES_BITS, SIGMOID_ENTRIES, SIGMOID_Q30, exp2, reciprocal, rsqrt, sigmoid
from spec_worst_error import worst_error


@given(st.integers(1 << 62, (1 << 64) - 1))
@example(1 << 62)
@example((1 << 62) + 1)
@example((1 << 64) - 1)
@example(3 << 62)
def test_rsqrt_is_the_floor(value: int) -> None:
    """r = floor(2^62/√v) iff r ≤ 2^62/√v < r + 1 iff r²·v ≤ 2^124 < (r+1)²·v."""
    r = rsqrt(value)
    assert r * r * value <= 1 << 124 < (r + 1) * (r + 1) * value
    assert 1 << 30 <= r <= 1 << 31


def test_rsqrt_at_its_borders() -> None:
    assert (rsqrt(1 << 62), rsqrt((1 << 64) - 1)) == (1 << 31, 1 << 30)


@given(st.integers(1, (1 << 64) - 1))
@example(1)
@example((1 << 40) - 1)
@example(1 << 40)
def test_reciprocal_is_the_floor(value: int) -> None:
    r, b = reciprocal(value), value.bit_length()
    assert r * value <= 1 << (b + 30) < (r + 1) * value
    assert 1 << 30 <= r <= 1 << 31


def test_constants_are_those_of_analysis() -> None:
    with flint.ctx.workprec(300):
        ln_2 = arb(2).log()
        assert 0 < ln_2 - arb(LN_2) / (1 << SERIES_BITS) < arb(2) ** -120
        assert int((arb(1 << 32) / ln_2).floor().unique_fmpz()) == LOG2_E_Q32


def test_every_entry_of_the_sigmoid_table_is_the_nearest_integer() -> None:
    with flint.ctx.workprec(160):
        for k in range(SIGMOID_ENTRIES + 1):
            true = arb(1 << 30) / (1 + (-arb(k) / 256).exp())
            assert SIGMOID_Q30[k] == int((true + arb(1) / 2).floor().unique_fmpz()) or k == 0
    assert SIGMOID_Q30[0] == 1 << 29
    assert len(SIGMOID_Q30) == 4097


@pytest.mark.parametrize("function", [exp2, sigmoid])
def test_the_errors_are_below_what_the_design_asks_for(function: object) -> None:
    assert worst_error(function) <= 2e-6


def test_exp2_is_monotone_and_ends_at_zero() -> None:
    values = [exp2(z) for z in range(-(28 << 16), 1, 97)]
    assert values == sorted(values)
    assert exp2(0) == 1 << 24
    assert exp2(-(1 << 16)) == 1 << 23
    assert exp2(-(25 << 16)) == 1, "one half of a unit rounds up"
    assert exp2(-(25 << 16) - 1) == 0
    assert all(exp2(-1 - z) == 0 for z in (1 << 21, 33 << 16, (1 << 31) - 1, 1 << 40))


def test_sigmoid_is_monotone_and_mirrors() -> None:
    arguments = range(-(17 << 14), 17 << 14, 101)
    values = [sigmoid(g) for g in arguments]
    assert values == sorted(values)
    assert all(sigmoid(g) + sigmoid(-g) == 1 << 30 for g in arguments if g)
    assert sigmoid(0) == 1 << 29
    assert sigmoid((1 << 18) - 1) < 1 << 30
    assert sigmoid(1 << 18) == 1 << 30
    assert sigmoid(-(1 << 31)) == 0
