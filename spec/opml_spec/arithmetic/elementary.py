"""The elementary functions on fixed point: integer formulas, each with its worst error over all inputs.

`rsqrt` and `reciprocal` are exact floors; `exp2` is a polynomial, `sigmoid` a table with straight lines between its entries. The errors
beside `(= …)` are not estimates: the tests compute them over every input in ball arithmetic and compare.

*Source*: spec §1.2.
"""

from itertools import accumulate, repeat
from math import isqrt

from opml_spec.arithmetic.fixed import round_shift

SERIES_BITS = 128
"""Fraction bits of the constants that are computed here from their series; far more than any use of them needs."""

LN_2 = sum((1 << SERIES_BITS) // (k << k) for k in range(1, SERIES_BITS))
"""ln 2 = Σ 1/(k·2^k), Q128, short by less than 2^-120. (= 235865763225513294137944142764154484346)"""

LOG2_E_Q32 = (1 << (SERIES_BITS + 32)) // LN_2
"""log2(e) = 1/ln 2, Q32, rounded down. (= 6196328018)"""


def rsqrt(value: int) -> int:
    """`floor(2^62 / √value)` for `2^62 ≤ value < 2^64`; in `[2^30, 2^31]`."""
    return isqrt((1 << 124) // value)


def reciprocal(value: int) -> int:
    """`floor(2^(b+30) / value)` for value ≥ 1, where b is its number of bits; in `[2^30, 2^31]`."""
    return (1 << (value.bit_length() + 30)) // value


EXP2_Q30 = (234018, 1333042, 10395076, 59573866, 257944889, 744260928, 1073741824)
"""Coefficients of 2^f on 0 ≤ f < 1, Q30, of f^6 first."""


def exp2(exponent_q16: int) -> int:
    """2^exponent, Q24, for a Q16 exponent ≤ 0.

    The worst absolute error over all exponents, in units of 1: `worst_error(exp2)` (= 3.18e-8).
    """
    whole, fraction_q30 = exponent_q16 >> 16, (exponent_q16 % (1 << 16)) << 14
    power_q30 = 0
    for coefficient in EXP2_Q30:
        power_q30 = round_shift(power_q30 * fraction_q30, 30) + coefficient
    return round_shift(power_q30, 6 - whole)


SIGMOID_ENTRIES = 4096  # and one: from 0 to 16 in steps of 1/256


def sigmoid_table() -> tuple[int, ...]:
    """The integers nearest to `2^30 / (1 + e^(-k/256))` for k = 0 … 4096.

    `e^(-1/256)` comes from its Taylor series, and its powers by multiplication, rounded down in Q128. Each entry is off by less than 2^-80
    before it is rounded, and no true value is that near to a half.
    """
    one = 1 << SERIES_BITS
    terms = accumulate(range(1, 16), lambda term, j: -term // (j << 8), initial=one)
    ratio = sum(terms)
    powers = accumulate(repeat(ratio, SIGMOID_ENTRIES), lambda power, factor: (power * factor) >> SERIES_BITS, initial=one)
    return tuple(((2 << 30) * one + one + power) // (2 * (one + power)) for power in powers)


SIGMOID_Q30 = sigmoid_table()
"""σ(k/256) for k = 0 … 4096, Q30."""


def sigmoid(argument_q14: int) -> int:
    """σ(argument) = 1 / (1 + e^-argument), Q30, for a Q14 argument.

    The worst absolute error over all arguments, in units of 1: `worst_error(sigmoid)` (= 1.85e-7).
    """
    magnitude = abs(argument_q14)
    if magnitude >= 1 << 18:
        positive = 1 << 30
    else:
        k, part = divmod(magnitude, 64)
        positive = SIGMOID_Q30[k] + round_shift((SIGMOID_Q30[k + 1] - SIGMOID_Q30[k]) * part, 6)
    return positive if argument_q14 >= 0 else (1 << 30) - positive
