"""Functions of binary32 that are fixed sequences of its operations, so that every machine gets the same bits.

*Source*: spec §1.4. The reduction is Cody and Waite's ("Software Manual for the Elementary Functions", 1980).
"""

from collections.abc import Iterable, Sequence

from opml_spec.arithmetic.binary32 import INFINITY, NAN, ONE, UNITS, add, div, from_fixed, interpret, is_nan, lt, mul, negate, sub

EXP_OVERFLOWS = 0x42B17218  # above it, e^x is too large: 88.7
EXP_VANISHES = 0xC2CFF1B5  # below it, e^x is less than half the smallest number: −104.0
INTEGERS = 0x4B400000  # 1.5 · 2^23: adding it rounds to an integer
LOG2_E = 0x3FB8AA3B
LN_2_HIGH, LN_2_LOW = 0x3F318000, 0xB95E8083  # the high part times any n that occurs is exact
EXP_POLYNOMIAL = (0x3AB6DA15, 0x3C091DAB, 0x3D2AAA2F, 0x3E2AAA47, 0x3F000000)  # of r^6 first, to that of r^2


def total(terms: Iterable[int]) -> int:
    """The sum in the given order, from +0."""
    result = 0
    for term in terms:
        result = add(result, term)
    return result


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    """Σ a·b, the products rounded, in index order."""
    return total(mul(x, y) for x, y in zip(a, b, strict=True))


def exp(x: int) -> int:
    """e^x. The worst relative error in a sample of arguments with normal results: `sampled_error(exp)` (= 7.9e-8)."""
    if is_nan(x):
        return NAN
    if lt(EXP_OVERFLOWS, x):
        return INFINITY
    if lt(x, EXP_VANISHES):
        return 0
    n = sub(add(mul(x, LOG2_E), INTEGERS), INTEGERS)
    r = sub(sub(x, mul(n, LN_2_HIGH)), mul(n, LN_2_LOW))
    p, *coefficients = EXP_POLYNOMIAL
    for coefficient in coefficients:
        p = add(mul(p, r), coefficient)
    p = add(add(mul(mul(p, r), r), r), ONE)
    exponent = interpret(n) // UNITS
    half = exponent >> 1
    return mul(mul(p, from_fixed(1, -half)), from_fixed(1, half - exponent))


def sigmoid(x: int) -> int:
    """1 / (1 + e^-x)."""
    return div(ONE, add(ONE, exp(negate(x))))
